//! What a run's program complains about: into the log with the run's id, up to a limit, and its last lines for whoever wants to
//! know why it failed. Never lets a flood of it cost more than a trickle.

use std::{
    collections::VecDeque,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use postern_contract::RunId;
use tokio::{
    io::{AsyncReadExt as _, BufReader},
    net::unix::pipe,
    sync::oneshot,
    task::JoinHandle,
};

use crate::{
    output::{next_line, printable},
    printed::{Printed, Stream},
};

/// What one run may have in the log, in bytes, with all that stands around its lines.
const LOGGED_BYTES_MAX: usize = 1 << 20;

/// What the log puts around a line, in bytes or so.
const AROUND_BYTES: usize = 128;

/// What is read at once when that is used up, in bytes, and how long is waited before more: the program waits with it.
const PASSED_BYTES_MAX: usize = 64 << 10;
const PAUSE: Duration = Duration::from_millis(5);

/// Where the last lines are looked for in that, in bytes from its end.
const LAST_BYTES_MAX: usize = 4096;

/// Lines that are kept for the error, and how long each may be in characters.
const LAST_LINES: usize = 8;
const LAST_CHARS_MAX: usize = 400;

/// How long what is still in the pipe is read once nobody follows any more.
const REST: Duration = Duration::from_secs(1);

/// One run's standard error. What had been written when this is dropped still comes into the log.
#[derive(Debug)]
pub(super) struct Stderr {
    last: Arc<Mutex<VecDeque<String>>>,
    reading: JoinHandle<()>,
    /// Its end is known by.
    _followed: oneshot::Sender<()>,
}

impl Stderr {
    /// Reads what is written to the descriptor that comes with it.
    pub(super) fn follow(
        agent: &str,
        run: &RunId,
        printed: &Printed,
    ) -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = io::pipe()?;
        let reader = pipe::Receiver::from_owned_fd(reader.into())?;
        let last = Arc::new(Mutex::default());
        let whose = (agent.to_owned(), run.clone(), printed.clone());
        let (followed, left) = oneshot::channel::<()>();
        let reading = read(BufReader::new(reader), whose, Arc::clone(&last));
        let reading = tokio::spawn(async move {
            tokio::select! {
                () = reading => {}
                () = rest(left) => {}
            }
        });
        let stderr = Self {
            last,
            reading,
            _followed: followed,
        };
        Ok((stderr, writer.into()))
    }

    /// The last lines, once all have come or nobody wants to wait longer.
    pub(super) async fn last_words(&mut self, at_most: Duration) -> String {
        drop(tokio::time::timeout(at_most, &mut self.reading).await);
        let last = locked(&self.last);
        last.iter().cloned().collect::<Vec<_>>().join("\n")
    }
}

/// Returns when nobody follows any more and there was time for the rest: somebody else may hold the pipe open.
async fn rest(left: oneshot::Receiver<()>) {
    drop(left.await);
    tokio::time::sleep(REST).await;
}

async fn read(
    mut reader: BufReader<pipe::Receiver>,
    (agent, run, printed): (String, RunId, Printed),
    last: Arc<Mutex<VecDeque<String>>>,
) {
    let mut left = LOGGED_BYTES_MAX;
    while let Ok(Some(line)) = next_line(&mut reader).await {
        keep(&mut locked(&last), &line);
        printed.keep(&run, Stream::Stderr, &line);
        tracing::info!(target: "agent", agent, %run, stream = "stderr", "{line}");
        left = left.saturating_sub(line.len() + AROUND_BYTES);
        if left == 0 {
            tracing::warn!(target: "agent", agent, %run, "it complains without end: no more is logged");
            return pass_over(reader, &last).await;
        }
    }
}

/// Reads the rest for its last lines alone.
async fn pass_over(mut reader: BufReader<pipe::Receiver>, last: &Mutex<VecDeque<String>>) {
    let mut bytes = vec![0; PASSED_BYTES_MAX];
    while let Ok(length @ 1..) = reader.read(&mut bytes).await {
        let end = &bytes[length.saturating_sub(LAST_BYTES_MAX)..length];
        for line in String::from_utf8_lossy(end).lines() {
            keep(&mut locked(last), &printable(line));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn keep(last: &mut VecDeque<String>, line: &str) {
    if line.is_empty() {
        return;
    }
    if last.len() >= LAST_LINES {
        last.pop_front();
    }
    last.push_back(line.chars().take(LAST_CHARS_MAX).collect());
}

fn locked(last: &Mutex<VecDeque<String>>) -> MutexGuard<'_, VecDeque<String>> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn the_last_lines_are_known() {
        let printed = Printed::new(postern_daemon::Clock::system());
        let (mut stderr, writer) =
            Stderr::follow("desk", &"run-1".parse().unwrap(), &printed).unwrap();
        let mut writer = io::PipeWriter::from(writer);
        for line in 0..20 {
            writeln!(writer, "line {line}\u{1b}[31m").unwrap();
        }
        drop(writer);
        let last = stderr.last_words(Duration::from_secs(30)).await;
        assert_eq!(last.lines().count(), LAST_LINES);
        assert!(last.ends_with("line 19\\u{1b}[31m"), "{last}");
    }
}
