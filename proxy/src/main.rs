//! The program `postern-proxy`. Never does anything itself: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    postern_proxy::main_with(std::env::args_os())
}
