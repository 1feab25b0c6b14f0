//! The executable `postern-launcher`: hands its arguments to the library and never does anything itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    postern_sandbox::main_with(std::env::args_os())
}
