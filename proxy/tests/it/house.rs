//! A gate that serves, a posternd that only talks, and sandboxes that are only listeners. Never waits without a limit.

mod configs;

use std::{
    fs, io,
    net::{SocketAddr, TcpListener as StdListener},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use postern_contract::link::{
    FromGate, GateStatus, LINK_VERSION, ListenerKind, News, Origin, Reply, ToGate,
};
use postern_contract::{RunId, SandboxId};
use postern_daemon::{Shutdown, channel::Channel};
use postern_proxy::{Config, Place, RunError};
use postern_testkit::Folder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

pub(crate) use configs::{config, models};

/// How long a test waits for anything before it fails.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) const SECRET: &str = "sk_gate_5f3a";

/// A gate and its posternd.
pub(crate) struct House {
    pub(crate) directory: Folder,
    pub(crate) link: Channel,
    gate: Gate,
    seq: AtomicU64,
}

/// The gate itself: in this process, or the program.
enum Gate {
    Here(Shutdown, JoinHandle<Result<(), RunError>>),
    Program(Child),
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Self::Program(child) = self {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// A listener that the gate takes for a sandbox.
pub(crate) struct Sandbox {
    pub(crate) id: SandboxId,
    pub(crate) address: SocketAddr,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Fails a test that would otherwise wait for ever.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what)
        .await
        .expect("waited in vain")
}

/// A state directory with a config and its secret.
pub(crate) fn written(config: &str) -> (Folder, PathBuf) {
    let directory = Folder::new("postern-gate-");
    let path = directory.path().join("postern.toml");
    fs::write(&path, config).unwrap();
    let secret = directory.path().join("key");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    directory.had_secret(SECRET);
    (directory, path)
}

/// Connects as soon as somebody listens at the path.
pub(crate) async fn connected(path: PathBuf) -> Channel {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    soon(async {
        loop {
            ticks.tick().await;
            match Channel::connect(&path) {
                Ok(channel) => return channel,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await
}

impl House {
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_with(config, |_| ()).await
    }

    /// The same, once the directory was furnished.
    pub(crate) async fn start_with(config: &str, furnish: impl FnOnce(&Path)) -> Self {
        let (directory, path) = written(config);
        furnish(directory.path());
        let config = Config::read(&path).unwrap_or_else(|error| panic!("{error}"));
        let shutdown = Shutdown::manual();
        let (state, asked) = (directory.path().to_owned(), shutdown.clone());
        let gate = tokio::spawn(async move {
            let link = state.join("link.sock");
            let runtime_uid = nix::unistd::getuid().as_raw();
            let place = Place {
                state: &state,
                link: &link,
                runtime_uid,
                token: None,
            };
            postern_proxy::run(config, place, asked).await
        });
        Self::entered(directory, Gate::Here(shutdown, gate)).await
    }

    /// The same with the program, and with this in its environment.
    pub(crate) async fn program(config: &str, environment: &[(&str, &Path)]) -> Self {
        let (directory, _) = written(config);
        Self::program_in(directory, environment).await
    }

    /// The program over a directory that has its config, and perhaps what an earlier one left.
    pub(crate) async fn program_in(directory: Folder, environment: &[(&str, &Path)]) -> Self {
        Self::spawned(directory, environment, Stdio::inherit()).await
    }

    /// The same with every word of its own log in a file.
    pub(crate) async fn program_told(directory: Folder) -> (Self, tempfile::NamedTempFile) {
        let log = tempfile::NamedTempFile::new().unwrap();
        let words = [("POSTERN_LOG", Path::new("info,postern_proxy=trace"))];
        let log_end = Stdio::from(log.reopen().unwrap());
        (Self::spawned(directory, &words, log_end).await, log)
    }

    async fn spawned(directory: Folder, environment: &[(&str, &Path)], log: Stdio) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_postern-proxy"));
        program
            .arg("--config")
            .arg(directory.path().join("postern.toml"))
            .arg("--state")
            .arg(directory.path());
        program
            .arg("--link")
            .arg(directory.path().join("link.sock"));
        program
            .env_remove("NOTIFY_SOCKET")
            .envs(environment.iter().copied());
        let child = program.stdin(Stdio::null()).stderr(log).spawn().unwrap();
        Self::entered(directory, Gate::Program(child)).await
    }

    async fn entered(directory: Folder, gate: Gate) -> Self {
        let link = connected(directory.path().join("link.sock")).await;
        let house = Self {
            directory,
            link,
            gate,
            seq: AtomicU64::new(0),
        };
        let hello = News::Hello {
            version: LINK_VERSION,
            token: None,
        };
        let Reply::Welcome(welcome) = house.tell(hello, None).await else {
            panic!("no welcome")
        };
        let ca = house.directory.path().join("told.crt");
        fs::write(ca, welcome.ca_certificate).unwrap();
        house
    }

    /// The most memory that the program ever held, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    /// The memory that the program holds now, in KiB.
    pub(crate) fn held_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    fn memory_kib(&self, name: &str) -> u64 {
        let Gate::Program(child) = &self.gate else {
            panic!("a program has memory of its own")
        };
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }

    /// The certificate that sandboxes must trust, as the gate told it.
    pub(crate) fn ca(&self) -> PathBuf {
        self.directory.path().join("told.crt")
    }

    /// Tells the gate something, with a listener or without.
    pub(crate) async fn tell(&self, news: News, listener: Option<&StdListener>) -> Reply {
        let fds: Vec<_> = listener.iter().map(|listener| listener.as_fd()).collect();
        self.hand(news, &fds).await
    }

    pub(crate) async fn hand(&self, news: News, fds: &[BorrowedFd<'_>]) -> Reply {
        let seq = self.seq.fetch_add(1, Ordering::SeqCst) + 1;
        soon(self.link.send(&ToGate { seq, news }, fds))
            .await
            .unwrap();
        let (answer, _) = soon(self.link.receive::<FromGate>())
            .await
            .unwrap()
            .expect("an answer");
        assert_eq!(answer.re, seq);
        answer.reply
    }

    pub(crate) async fn done(&self, news: News) {
        assert_eq!(self.tell(news, None).await, Reply::Done);
    }

    /// How the gate says it is.
    pub(crate) async fn status(&self) -> GateStatus {
        match self.tell(News::Status, None).await {
            Reply::Status(status) => status,
            other => panic!("no status: {other:?}"),
        }
    }

    /// Waits until the gate says that it is so.
    pub(crate) async fn until(&self, is_so: impl Fn(&GateStatus) -> bool) -> GateStatus {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        soon(async {
            loop {
                ticks.tick().await;
                let status = self.status().await;
                if is_so(&status) {
                    return status;
                }
            }
        })
        .await
    }

    /// Puts another config in the place of the first one, as an editor does.
    pub(crate) fn rewrite(&self, config: &str) {
        self.replace("postern.toml", config);
    }

    /// Puts another file in the place of one.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        let (fresh, old) = (
            self.directory.path().join("fresh"),
            self.directory.path().join(name),
        );
        if name == "key" {
            self.directory
                .had_secret(fs::read(&old).unwrap_or_default());
        }
        fs::write(&fresh, text).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&fresh, old).unwrap();
    }

    /// Sends the program SIGHUP.
    pub(crate) fn hang_up(&self) {
        let Gate::Program(child) = &self.gate else {
            panic!("the gate is in this process")
        };
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
    }

    /// A sandbox of the agent `desk`.
    pub(crate) async fn sandbox(&self, origin: Origin) -> Sandbox {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let (id, address) = (SandboxId::fresh(), listener.local_addr().unwrap());
        let news = News::SandboxStarted {
            sandbox: id.clone(),
            agent: "desk".parse().unwrap(),
            origin,
            listeners: vec![ListenerKind::Gate],
        };
        assert_eq!(self.tell(news, Some(&listener)).await, Reply::Done);
        Sandbox { id, address }
    }

    /// A sandbox of the agent `desk` in which one run is active.
    pub(crate) async fn busy_sandbox(&self) -> Sandbox {
        let sandbox = self.sandbox(Origin::Sandbox).await;
        self.run(&sandbox, "run_1").await;
        sandbox
    }

    /// A sandbox in which one run is active, and whose listener at this address stands for every address there is.
    pub(crate) async fn captured(&self, address: SocketAddr) -> Sandbox {
        let listener = StdListener::bind(address).unwrap();
        let id = SandboxId::fresh();
        let news = News::SandboxStarted {
            sandbox: id.clone(),
            agent: "desk".parse().unwrap(),
            origin: Origin::Sandbox,
            listeners: vec![ListenerKind::Captured],
        };
        assert_eq!(self.tell(news, Some(&listener)).await, Reply::Done);
        let sandbox = Sandbox { id, address };
        self.run(&sandbox, "run_1").await;
        sandbox
    }

    pub(crate) async fn run(&self, sandbox: &Sandbox, run: &str) {
        let run: RunId = run.parse().unwrap();
        self.done(News::RunStarted {
            sandbox: sandbox.id.clone(),
            run,
            user: None,
        })
        .await;
    }

    /// The lines about calls, so far.
    pub(crate) fn audit(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.directory.path().join("audit.jsonl")).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["kind"] == "call").collect()
    }

    /// Asks the gate to stop, as if posternd had left before.
    pub(crate) async fn stop(self) -> Folder {
        let Self {
            directory,
            link,
            mut gate,
            ..
        } = self;
        drop(link);
        if let Gate::Here(shutdown, gate) = &mut gate {
            shutdown.trigger("test");
            soon(gate).await.unwrap().unwrap();
        }
        directory
    }
}

impl House {
    /// Kills the program as nothing else could, and gives what it left.
    pub(crate) fn kill(self) -> Folder {
        let Self {
            directory, gate, ..
        } = self;
        // Dropping kills, and waits.
        drop(gate);
        directory
    }
}

impl Sandbox {
    /// Sends a request as it stands and reads until the gate closes.
    pub(crate) async fn send(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        // A reset after the answer is an end too.
        drop(soon(stream.read_to_end(&mut bytes)).await);
        parse(&String::from_utf8_lossy(&bytes))
    }

    /// A request with no body; `fields` are whole lines.
    pub(crate) async fn ask(&self, line: &str, fields: &[&str]) -> Answer {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        self.send(&format!(
            "{line} HTTP/1.1\r\nconnection: close\r\n{fields}\r\n"
        ))
        .await
    }

    /// A POST of JSON.
    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        let head = format!("POST {path} HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n");
        let kind = "content-type: application/json";
        self.send(&format!(
            "{head}{kind}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await
    }
}

#[track_caller]
pub(crate) fn parse(text: &str) -> Answer {
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no head: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}
