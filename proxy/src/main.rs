//! The program `postern-proxy`. Never does anything itself: see the library.

use std::process::ExitCode;

/// The gate makes and drops many small things for every call; this halves what that costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    postern_proxy::main_with(std::env::args_os())
}
