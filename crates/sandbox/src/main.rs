//! The executable `postern-launcher`: hands its arguments to the library and never does anything itself.

use std::process::ExitCode;

/// musl's own allocator asks the kernel for memory again and again, which costs a start as much as the walls of a sandbox do.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    postern_sandbox::main_with(std::env::args_os())
}
