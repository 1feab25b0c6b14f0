//! What happens to calls when they cannot be recorded. Never a call that nobody knows of.

use std::{fs::File, net::SocketAddr, os::fd::OwnedFd, sync::Arc};

use postern_contract::{SandboxId, link::Origin};
use postern_daemon::Clock;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    accept::{Comes, Listener},
    approve::Approvals,
    audit::Audit,
    config::Config,
    consent::Consents,
    dial::{Dialer, World},
    gate::Gate,
    identify::Room,
    intercept::{Ca, Leaves},
    ledger::Ledger,
    scope::{Life, Scope},
    secret::{Errands, Fetched},
    token::Tokens,
};

/// A gate whose audit log is on a full disk, with a tool at this address.
async fn gate_on_a_full_disk(tool: SocketAddr) -> (Arc<Gate>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("postern.toml");
    let text = format!(
        "[tools.crm]\nurl = \"http://{tool}/\"\nprivate = true\n\
         [[policies.open.rules]]\nname = \"all\"\npermission = \"allow\"\nresource = \"http://{tool}/*\"\n\
         [agents.desk]\ntools = [\"crm\"]\npolicies = [\"open\"]\n"
    );
    std::fs::write(&path, text).unwrap();
    let clock = Clock::system();
    let book = Config::read(&path).unwrap().into_book(1).unwrap();
    let full = File::options().append(true).open("/dev/full").unwrap();
    let audit = Audit::over_file(full, clock.clone());
    let store = postern_store::gate::Gate::open(&directory.path().join("gate.db"))
        .await
        .unwrap();
    let approvals = Approvals::open(store.clone(), clock.clone()).await.unwrap();
    let (ledger, writer) = Ledger::new(store.clone());
    tokio::spawn(writer.run());
    let dialer = Arc::new(Dialer::new(World::default(), clock.clone()));
    let counted = audit.metrics().tokens();
    let kept = (&store, directory.path());
    let tokens = Tokens::open(&dialer, kept, (counted, &clock)).unwrap();
    let consents = Consents::open((store, directory.path()), None, clock.clone()).unwrap();
    let ca = Ca::open(directory.path(), clock.unix_ms() / 1000).unwrap();
    let leaves = Leaves::new(ca, clock.clone()).unwrap();
    (
        Arc::new(Gate::new(
            (book, Fetched::new(Errands::new(&dialer, &clock))),
            (dialer, tokens, leaves),
            (audit, ledger),
            (approvals, consents),
            clock,
        )),
        directory,
    )
}

fn sandbox(gate: &Arc<Gate>) -> (SocketAddr, Life) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let room = Room::new(SandboxId::fresh(), "desk".parse().unwrap(), Origin::Sandbox);
    room.run_started("run_1".parse().unwrap(), None).unwrap();
    let (life, scope): (Life, Scope) = Life::begin();
    Listener::from_fd(OwnedFd::from(listener)).unwrap().serve(
        Comes::ToTheGate,
        gate,
        (&Arc::new(room), &scope),
    );
    (address, life)
}

async fn call(sandbox: SocketAddr) -> String {
    let mut stream = TcpStream::connect(sandbox).await.unwrap();
    let request = b"GET /tools/crm/ HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an answer too.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_reach_the_agent_and_then_is_not_even_tried() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (gate, _directory) = gate_on_a_full_disk(upstream.local_addr().unwrap()).await;
    let (address, _life) = sandbox(&gate);
    let answering = tokio::spawn(async move {
        let (mut stream, _) = upstream.accept().await.unwrap();
        let mut head = [0; 1024];
        assert!(stream.read(&mut head).await.unwrap() > 0);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
            .await
            .unwrap();
        upstream
    });
    // Nobody knew before the first line failed: the answer's end is held back.
    let first = call(address).await;
    assert!(!first.contains("hello"), "{first}");
    let upstream = answering.await.unwrap();
    // From now on nothing goes out.
    let second = call(address).await;
    assert!(second.starts_with("HTTP/1.1 503 "), "{second}");
    assert!(second.contains("GATE_UNAVAILABLE"), "{second}");
    assert!(
        gate.condition().troubles[0].contains("audit"),
        "{:?}",
        gate.condition()
    );
    let nobody = tokio::select! {
        biased;
        _ = upstream.accept() => false,
        () = std::future::ready(()) => true,
    };
    assert!(nobody, "a call went out unrecorded");
}
