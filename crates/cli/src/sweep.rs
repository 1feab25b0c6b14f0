//! `postern sweep DIRECTORY`: outlives the supervisor by a moment and removes its run directory with the sockets in it,
//! however the supervisor ended. Never removes anything else.

use std::{ffi::OsString, fs, io, path::Path, process::ExitCode, time::Duration};

use nix::poll::{PollTimeout, poll};

use crate::{Failure, failure::EXIT_CONFIG, up::is_run_directory};

/// How often the directory is tried: a daemon on its way out may still put a socket there.
const TRIES_MAX: u32 = 500;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits for the end of standard input, then removes the directory.
pub(crate) fn main(directory: Option<&OsString>) -> ExitCode {
    let Some(directory) = directory
        .map(Path::new)
        .filter(|path| is_run_directory(path))
    else {
        return ExitCode::from(EXIT_CONFIG);
    };
    let end = io::copy(&mut io::stdin().lock(), &mut io::sink());
    match end.and_then(|_| remove(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Failure::path(directory, error).told(),
    }
}

/// Removes the directory with all that is in it.
pub(crate) fn remove(directory: &Path) -> io::Result<()> {
    let pause = PollTimeout::try_from(PAUSE).unwrap_or(PollTimeout::ZERO);
    let mut last = Ok(());
    for _ in 0..TRIES_MAX {
        last = match fs::remove_dir_all(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => Err(error),
        };
        poll(&mut [], pause)?;
    }
    last
}
