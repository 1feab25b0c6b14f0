//! The executable `posternd`. Never does anything but call the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    postern_runtime::main_with(std::env::args_os())
}
