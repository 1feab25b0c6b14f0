//! The executable `postern`. Never does anything but call the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    postern::main_with(std::env::args_os())
}
