//! The executable `postern`. Never does anything but call the library.

use std::process::ExitCode;

/// The gate makes and drops many small things for every call; this halves what that costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    postern::main_with(std::env::args_os())
}
