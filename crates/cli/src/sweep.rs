//! `postern sweep DIRECTORY`: outlives the supervisor by a moment and removes its run directory with the sockets in it, and
//! the gate's admin socket, however the supervisor ended. Never removes anything else, nor a socket that somebody serves.

use std::{
    ffi::OsString, fs, io, os::unix::net::UnixStream, path::Path, process::ExitCode, time::Duration,
};

use nix::poll::{PollTimeout, poll};
use postern_contract::exit;

use crate::{Failure, up::is_run_directory};

/// How often the directory is tried: a daemon on its way out may still put a socket there.
const TRIES_MAX: u32 = 500;

/// The gate's admin socket, from the state directory that the run directory lies in.
const ADMIN_SOCKET: &str = "gate/admin.sock";

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits for the end of standard input, then removes the directory.
pub(crate) fn main(directory: Option<&OsString>) -> ExitCode {
    let Some(directory) = directory
        .map(Path::new)
        .filter(|path| is_run_directory(path))
    else {
        return ExitCode::from(exit::CONFIG);
    };
    let end = io::copy(&mut io::stdin().lock(), &mut io::sink());
    match end.and_then(|_| remove(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Failure::path(directory, error).told(),
    }
}

/// Removes the directory with all that is in it, and the admin socket beside it once nobody serves that any more.
pub(crate) fn remove(directory: &Path) -> io::Result<()> {
    until_done(|| match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    })?;
    match directory.parent() {
        Some(state) => until_done(|| remove_unserved(&state.join(ADMIN_SOCKET))),
        None => Ok(()),
    }
}

/// An error means that it may still be served. A gate that was started meanwhile keeps its own.
fn remove_unserved(socket: &Path) -> io::Result<()> {
    match UnixStream::connect(socket) {
        Ok(_) => Err(io::ErrorKind::ResourceBusy.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(socket),
        Err(_) => Ok(()),
    }
}

fn until_done(mut attempt: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let pause = PollTimeout::try_from(PAUSE).unwrap_or(PollTimeout::ZERO);
    let mut last = Ok(());
    for _ in 0..TRIES_MAX {
        last = attempt();
        if last.is_ok() {
            break;
        }
        poll(&mut [], pause)?;
    }
    last
}
