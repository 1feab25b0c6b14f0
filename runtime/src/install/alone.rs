//! One install of an agent at a time, whoever does it: a lock on the agent's directory, which the kernel drops with its
//! holder. Never leaves a file that says that somebody is at work, and never waits without saying so.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
};

use postern_contract::AgentName;

use super::InstallError;

/// Nobody else changes the agent's directory until this is dropped.
#[derive(Debug)]
pub(super) struct Alone(#[expect(dead_code, reason = "the lock ends with its descriptor")] File);

impl Alone {
    /// Waits until nobody else installs there.
    pub(super) async fn with(directory: &Path, agent: &AgentName) -> Result<Self, InstallError> {
        let place = |source| InstallError::Place {
            path: directory.to_owned(),
            source,
        };
        let file = File::open(directory).map_err(place)?;
        match file.try_lock() {
            Ok(()) => return Ok(Self(file)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(place(error)),
        }
        tracing::info!(%agent, directory = %directory.display(), "another install of this agent is under way: waiting for it");
        let waiting = tokio::task::spawn_blocking(move || locked(file));
        let held = waiting
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        held.map(Self).map_err(place)
    }
}

fn locked(file: File) -> io::Result<File> {
    loop {
        match file.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done.map(|()| file),
        }
    }
}
