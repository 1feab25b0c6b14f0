//! The hidden subcommand `unpack`: an archive on stdin, files into a directory, one line of JSON on stdout. It runs in an
//! install sandbox as the agent's user; the daemon itself never reads an archive.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use postern_contract::exit;
use postern_unpack::{Limits, Report, UnpackError};
use serde::{Deserialize, Serialize};

/// The longest line that the subcommand writes, in bytes.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Parser)]
#[command(
    name = "unpack",
    about = "Unpacks an archive from stdin into an empty directory"
)]
struct Arguments {
    /// The empty directory.
    #[arg(long)]
    into: PathBuf,

    /// What a single file is called there; an archive has names of its own.
    #[arg(long)]
    name: String,
}

/// The line on stdout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Told {
    /// All of it is on disk.
    Unpacked(Report),
    /// The archive was refused; what is in the directory is to be thrown away.
    Refused(UnpackError),
    /// The directory cannot be used.
    NoPlace(String),
}

/// The subcommand's arguments: this program's name, `unpack` and its options.
#[must_use]
pub fn command_line(program: &str, into: &Path, name: &str) -> Vec<String> {
    let into = format!("--into={}", into.display());
    // One word: a name may begin like an option.
    let name = format!("--name={name}");
    vec![program.to_owned(), "unpack".to_owned(), into, name]
}

pub(crate) fn main(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(exit::CONFIG);
        }
    };
    let told = unpack(&arguments);
    let line = serde_json::to_string(&told).unwrap_or_default();
    let written = writeln!(io::stdout().lock(), "{line}");
    match (told, written) {
        (Told::Unpacked(_), Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn unpack(Arguments { into, name }: &Arguments) -> Told {
    let directory = match File::open(into) {
        Ok(directory) => directory,
        Err(error) => return Told::NoPlace(format!("{}: {error}", into.display())),
    };
    let limits = Limits::default();
    // Unbuffered: the unpacker reads large pieces.
    let Ok(archive) = io::stdin().as_fd().try_clone_to_owned() else {
        return Told::NoPlace("standard input cannot be read".to_owned());
    };
    match postern_unpack::unpack(File::from(archive), name, directory.as_fd(), &limits) {
        Ok(report) => Told::Unpacked(report),
        Err(error) => Told::Refused(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_understood_by_the_subcommand() {
        for name in ["agent.py", "--into=/etc", "-x", "ä b"] {
            let line = command_line("posternd", Path::new("/install"), name);
            let options = line.iter().skip(1).map(OsString::from);
            let read = Arguments::parse_from(options);
            assert_eq!(
                (read.into.as_path(), read.name.as_str()),
                (Path::new("/install"), name)
            );
        }
    }

    #[test]
    fn a_place_that_is_not_there_is_told() {
        assert!(matches!(
            unpack(&Arguments {
                into: "/nowhere/at/all".into(),
                name: "x".to_owned()
            }),
            Told::NoPlace(_)
        ));
    }
}
