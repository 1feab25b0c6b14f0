//! A secret that a program prints. Never through a shell, never with the gate's environment, and never left running.

use std::{
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use futures_util::future::BoxFuture;
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use postern_contract::Secret;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Child,
    time::timeout,
};
use zeroize::Zeroizing;

use super::{Ask, Asking, NoSecret, SECRET_BYTES_MAX, file};

/// Where programs are looked for, and all that they find in their environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The most of a complaint that is logged, in bytes; the rest is read and forgotten.
const COMPLAINT_BYTES_MAX: usize = 2048;

/// `command = ["PROGRAM", "ARGUMENT", …]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub(crate) struct Command {
    program: String,
    arguments: Vec<String>,
}

impl TryFrom<Vec<String>> for Command {
    type Error = &'static str;

    fn try_from(words: Vec<String>) -> Result<Self, Self::Error> {
        let mut words = words.into_iter();
        match words.next() {
            Some(program) if !program.is_empty() => Ok(Self {
                program,
                arguments: words.collect(),
            }),
            _ => Err("a command is a program and its arguments, one string each"),
        }
    }
}

impl Ask for Command {
    fn ask<'a>(&'a self, asking: Asking<'a>) -> BoxFuture<'a, Result<Secret, NoSecret>> {
        Box::pin(self.run(asking.directory, asking.time, asking.last))
    }

    fn key(&self) -> &'static str {
        "command"
    }
}

/// A running program. Whoever lets go of it ends it and all that it started.
struct Group(Child);

impl Group {
    /// Its id, as long as nobody has waited for the child: as long as that it is nobody else's.
    fn id(&self) -> Option<Pid> {
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        id.map(Pid::from_raw)
    }

    fn kill(&self) {
        if let Some(id) = self.id() {
            // It may have ended a moment ago.
            let _ = killpg(id, Signal::SIGKILL);
        }
    }

    /// Waits for the program's own end, and ends what it leaves running.
    async fn ended(&mut self) -> io::Result<ExitStatus> {
        if let Some(id) = self.id() {
            let over = tokio::task::spawn_blocking(move || until_over(id));
            over.await.map_err(io::Error::other)??;
            self.kill();
        }
        self.0.wait().await
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns once a child has ended, which nobody takes note of: its id stays its own, and its group's.
fn until_over(child: Pid) -> io::Result<()> {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    loop {
        match waitid(Id::Pid(child), look) {
            Err(Errno::EINTR) => {}
            came => return came.map(drop).map_err(io::Error::from),
        }
    }
}

/// What a program left behind.
struct Left {
    printed: Zeroizing<Vec<u8>>,
    complaint: Zeroizing<Vec<u8>>,
    status: ExitStatus,
}

impl Command {
    async fn run(
        &self,
        directory: &Path,
        time: Duration,
        last: Option<&Secret>,
    ) -> Result<Secret, NoSecret> {
        let program = || self.program.clone();
        let unstarted = |error| NoSecret::Unstarted {
            program: program(),
            error,
        };
        let mut group = self.started(directory).map_err(unstarted)?;
        let ended = timeout(time, finish(&mut group)).await;
        drop(group);
        let left = ended
            .map_err(|_| NoSecret::TooSlow { program: program() })?
            .map_err(unstarted)?;
        let complaint = told(&left, last);
        if !left.status.success() {
            tracing::warn!(
                program = self.program,
                complaint,
                "no secret from a command"
            );
            return Err(NoSecret::Failed {
                program: program(),
                status: left.status,
            });
        }
        if !complaint.is_empty() {
            tracing::info!(program = self.program, complaint, "a command complained");
        }
        if left.printed.len() as u64 > SECRET_BYTES_MAX {
            return Err(NoSecret::TooMuch { program: program() });
        }
        let value = file::without_last_line_break(left.printed.to_vec());
        if value.expose().is_empty() {
            return Err(NoSecret::Empty(format!("what {} printed", self.program)));
        }
        Ok(value)
    }

    fn started(&self, directory: &Path) -> io::Result<Group> {
        let child = tokio::process::Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(directory)
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        Ok(Group(child))
    }
}

/// Reads what it prints and waits for its end.
async fn finish(group: &mut Group) -> io::Result<Left> {
    let pipes = (group.0.stdout.take(), group.0.stderr.take());
    let (Some(output), Some(error)) = pipes else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let printed_max = usize::try_from(SECRET_BYTES_MAX).unwrap_or(usize::MAX) + 1;
    let (printed, complaint) = tokio::try_join!(
        start_of(output, printed_max),
        start_of(error, COMPLAINT_BYTES_MAX)
    )?;
    let status = group.ended().await?;
    Ok(Left {
        printed,
        complaint,
        status,
    })
}

/// The first `max` bytes of what comes, all of which is read.
async fn start_of(mut pipe: impl AsyncRead + Unpin, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // Whole from the start: what grows leaves copies behind.
    let mut kept = Zeroizing::new(Vec::with_capacity(max));
    let mut piece = Zeroizing::new([0; 4096]);
    loop {
        let read = pipe.read(&mut piece[..]).await?;
        if read == 0 {
            return Ok(kept);
        }
        let room = read.min(max - kept.len());
        kept.extend_from_slice(&piece[..room]);
    }
}

/// The complaint for a log: one line, and nothing of it where it repeats the value, the last one, or a line of either.
fn told(left: &Left, last: Option<&Secret>) -> String {
    let complaint = left.complaint.trim_ascii();
    let last = last.map(Secret::expose).unwrap_or_default();
    let mut values = [&left.printed[..], last]
        .into_iter()
        .flat_map(|value| value.split(|byte| *byte == b'\n'))
        .map(<[u8]>::trim_ascii)
        .filter(|value| !value.is_empty());
    // The start of a value may be all that is left of it at the complaint's end.
    let holds = |value: &[u8]| {
        let part = &value[..value.len().min(8)];
        complaint.windows(part.len()).any(|window| window == part)
    };
    if values.any(holds) {
        return "(withheld: it repeats the value)".to_owned();
    }
    String::from_utf8_lossy(complaint)
        .escape_debug()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let words = ["sh", "-c", script].map(str::to_owned);
        Command::try_from(words.to_vec()).unwrap()
    }

    async fn asked(script: &str) -> Result<Secret, String> {
        let long = Duration::from_secs(60);
        let asked = shell(script).run(Path::new("/"), long, None).await;
        asked.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn what_it_prints_is_the_value() {
        assert!(asked("echo sk_1").await.unwrap().is(b"sk_1"));
        assert!(asked("echo sk_1; exit 3").await.unwrap_err().contains("3"));
        assert!(asked("true").await.unwrap_err().contains("empty"));
        let much = asked("yes | head -c 70000").await.unwrap_err();
        assert!(much.contains("64 KiB"), "{much}");
        let none = Command::try_from(vec!["/nonexistent".to_owned()]).unwrap();
        assert!(none.run(Path::new("/"), Duration::MAX, None).await.is_err());
        assert!(Command::try_from(Vec::new()).is_err());
    }

    #[tokio::test]
    async fn it_has_no_shell_and_nothing_of_the_gates_environment() {
        let words = ["echo", "$HOME; id"].map(str::to_owned).to_vec();
        let echo = Command::try_from(words).unwrap();
        let value = echo
            .run(Path::new("/"), Duration::from_secs(60), None)
            .await;
        assert!(value.unwrap().is(b"$HOME; id"));
        let names = asked("env | sed 's/=.*//' | sort | tr '\\n' ' '")
            .await
            .unwrap();
        // A shell adds the last two itself.
        for name in String::from_utf8_lossy(names.expose()).split_whitespace() {
            assert!(
                ["PATH", "PWD", "SHLVL", "_", "OLDPWD"].contains(&name),
                "{name}"
            );
        }
    }

    #[tokio::test]
    async fn one_that_is_too_slow_is_ended() {
        let slow = shell("exec tail -f /dev/null");
        let asking = slow.run(Path::new("/"), Duration::from_millis(20), None);
        let error = asking.await.unwrap_err();
        assert!(matches!(error, NoSecret::TooSlow { .. }), "{error}");
    }

    #[tokio::test]
    async fn one_that_is_given_up_ends_with_all_that_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let opened = tokio::task::spawn_blocking(|| std::fs::File::open(pipe).unwrap());
        let slow = shell("sh -c 'exec 3>pipe; exec tail -f /dev/null' & wait");
        let mut grandchild = tokio::select! {
            came = slow.run(directory.path(), Duration::from_secs(3600), None) => panic!("{came:?}"),
            opened = opened => opened.unwrap(),
        };
        let ended = tokio::task::spawn_blocking(move || {
            io::Read::read_to_end(&mut grandchild, &mut Vec::new())
        });
        assert_eq!(ended.await.unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn what_it_leaves_running_ends_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut left = tokio::net::unix::pipe::OpenOptions::new()
            .open_receiver(&pipe)
            .unwrap();
        // It holds neither of the two pipes that are read.
        let leaving = shell(
            "sh -c 'exec 3>pipe; : >there; exec tail -f /dev/null' >/dev/null 2>&1 &
             until test -e there; do :; done; echo sk_1",
        );
        let value = leaving
            .run(directory.path(), Duration::from_secs(3600), None)
            .await;
        assert!(value.unwrap().is(b"sk_1"));
        let mut nothing = Vec::new();
        let ended = timeout(Duration::from_secs(30), left.read_to_end(&mut nothing)).await;
        assert!(ended.is_ok(), "what it had started still runs");
    }

    #[tokio::test]
    async fn a_complaint_that_repeats_the_value_stays_out_of_the_log() {
        let complaint = |printed: &str, complaint: &str, last: Option<&Secret>| {
            let left = Left {
                printed: Zeroizing::new(printed.into()),
                complaint: Zeroizing::new(complaint.into()),
                status: ExitStatus::default(),
            };
            told(&left, last)
        };
        assert_eq!(complaint("", "no\nway\n", None), "no\\nway");
        assert!(complaint("sk_live_1\n", "got sk_live_1", None).contains("withheld"));
        let last = Secret::new(b"sk_live_0".to_vec());
        assert!(complaint("", "had sk_live_0", Some(&last)).contains("withheld"));
        assert!(complaint("sk_live_1", "cut sk_live_", None).contains("withheld"));
    }
}
