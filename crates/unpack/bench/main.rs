//! The hands of `tests/bench/unpack`: unpacks standard input into a directory as `posternd unpack` does, or inflates it and throws
//! it away, which is the least that anybody can do. Never part of a package.

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    os::fd::AsFd,
    process::ExitCode,
};

use postern_unpack::{Limits, unpack};

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            drop(writeln!(io::stdout(), "{line}\n{status}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            drop(writeln!(io::stderr(), "bench-unpack: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, Box<dyn std::error::Error>> {
    let archive = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let into = std::env::args().nth(1).ok_or("say a directory, or `-`")?;
    if into == "-" {
        let packed = BufReader::with_capacity(256 * 1024, archive);
        let mut inflated = flate2::bufread::GzDecoder::new(packed);
        let (mut piece, mut bytes) = (vec![0; 256 * 1024], 0);
        loop {
            match inflated.read(&mut piece)? {
                0 => return Ok(format!("{bytes} bytes")),
                count => bytes += count,
            }
        }
    }
    let limits = Limits {
        entries_max: 1_000_000,
        ..Limits::default()
    };
    let report = unpack(archive, "single", File::open(into)?.as_fd(), &limits)?;
    Ok(format!("{report:?}"))
}
