//! The gate as it crashes: its memory holds secrets, and nothing of it may lie on a disk afterwards.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::house::{config, connected, soon, written};

/// Ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Running {
    /// A program that may leave a core file of any size in this directory, as far as whoever starts it goes.
    fn start(program: &str, arguments: &[&str], directory: &Path) -> Self {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "ulimit -c \"$(ulimit -H -c)\"; exec \"$0\" \"$@\"",
                program,
            ])
            .args(arguments)
            .current_dir(directory)
            .env_remove("NOTIFY_SOCKET")
            .env("POSTERN_LOG", "off");
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(piped.spawn().unwrap())
    }

    /// Sends the signal until it ends: what first gets a SIGSEGV that no access caused is the standard library's handler,
    /// which gives the next one back to the kernel.
    async fn crash(&mut self, signal: Signal) -> ExitStatus {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        let pid = Pid::from_raw(self.0.id().cast_signed());
        let status = soon(async {
            loop {
                ticks.tick().await;
                if let Some(status) = self.0.try_wait().unwrap() {
                    return status;
                }
                kill(pid, signal).unwrap();
            }
        })
        .await;
        assert_eq!(status.signal(), Some(signal as i32));
        status
    }
}

/// Whether a program that crashes leaves a core file on this machine.
async fn machine_dumps(signal: Signal) -> bool {
    use std::io::{Read as _, Write as _};
    let directory = tempfile::tempdir().unwrap();
    let mut cat = Running::start("cat", &[], directory.path());
    // What comes back is from `cat`: the shell is gone.
    cat.0.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    cat.0.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    cat.crash(signal).await.core_dumped()
}

#[tokio::test]
async fn a_gate_that_crashes_leaves_no_memory_behind() {
    for signal in [Signal::SIGSEGV, Signal::SIGABRT] {
        let (directory, path) = written(&config("127.0.0.1:9".parse().unwrap()));
        let link = directory.path().join("link.sock");
        let arguments = [
            ("--config", path.as_path()),
            ("--state", directory.path()),
            ("--link", &link),
        ];
        let arguments: Vec<_> = arguments
            .iter()
            .flat_map(|(flag, path)| [*flag, path.to_str().unwrap()])
            .collect();
        let program = env!("CARGO_BIN_EXE_postern-proxy");
        let mut gate = Running::start(program, &arguments, directory.path());
        drop(connected(link).await);
        let limits = fs::read_to_string(format!("/proc/{}/limits", gate.0.id())).unwrap();
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"));
        let words: Vec<_> = core.unwrap().split_whitespace().collect();
        assert_eq!(
            words[4..6],
            ["0", "0"],
            "what it starts may leave some: {limits}"
        );
        assert!(!gate.crash(signal).await.core_dumped(), "{signal}");
        for file in fs::read_dir(directory.path()).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with("core"), "{name}");
        }
        if !machine_dumps(signal).await {
            eprintln!("no program leaves a core file here, so that this shows the limit alone");
        }
    }
}
