//! Secrets that a Vault keeps, from its answer to the tool: rotated, served while it is down, and never in a log. The Vault
//! speaks its documented API; what is asked of it in detail is tested beside the source.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use postern_contract::link::GateStatus;
use postern_daemon::Clock;
use postern_testkit::vault::{Lease, Vault};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::{
    corporate::{Corporate, Does},
    house::{self, House, Sandbox, soon},
    seeing::admin,
    tls, two,
    upstream::{Answer, Upstream},
};

const FIRST: &str = "sk_vault_first_41c2";
const SECOND: &str = "sk_vault_second_9d7e";
const SECRET_ID: &str = "7ab1c9-secret-id-0f3e";
const AT: &str = "kv/data/apps/stripe";

/// A Vault that serves until it is told to be gone.
struct Served {
    vault: Vault,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

async fn served(acceptor: Option<TlsAcceptor>) -> Served {
    let clock = Clock::system();
    let start = clock.now();
    let vault = Vault::new(move || clock.now() - start);
    let login = json!({ "role_id": "postern", "secret_id": SECRET_ID });
    vault.let_in("approle", login, Lease::of(3600));
    vault.put(AT, "key", FIRST);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (shared, acceptor) = (vault.clone(), acceptor.map(Arc::new));
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (vault, acceptor) = (shared.clone(), acceptor.clone());
            tokio::spawn(async move {
                let Some(acceptor) = acceptor else {
                    return vault.attend(stream).await;
                };
                if let Ok(stream) = acceptor.accept(stream).await {
                    vault.attend(stream).await;
                }
            });
        }
    });
    Served {
        vault,
        address,
        serving,
    }
}

/// A config with one tool, whose credential is kept in a Vault.
fn config(tool: SocketAddr, at: &str, pace: &str) -> String {
    format!(
        r#"
[secrets.stripe]
vault = {{ {at}, mount = "kv", path = "apps/stripe", field = "key", login = {{ role_id = "postern", secret_id_file = "id" }} }}
{pace}

[tools.stripe]
url = "http://{tool}/v1"
private = true
credential = {{ kind = "bearer", secret = "stripe" }}

[tools.open]
url = "http://{tool}/open"
private = true

[[policies.support.rules]]
name = "all"
permission = "allow"
resource = "http://{tool}/*"

[agents.desk]
tools = ["stripe", "open"]
policies = ["support"]
"#
    )
}

fn plainly(vault: &Served) -> String {
    format!(r#"url = "http://{}", plaintext = true"#, vault.address)
}

async fn started(config: &str) -> House {
    House::start_with(config, |directory| {
        use std::os::unix::fs::PermissionsExt as _;
        let id = directory.join("id");
        std::fs::write(&id, SECRET_ID).unwrap();
        std::fs::set_permissions(&id, std::fs::Permissions::from_mode(0o600)).unwrap();
    })
    .await
}

async fn stage(pace: &str) -> (Served, Upstream, House, Sandbox) {
    let vault = served(None).await;
    let tool = Upstream::start(|_| Answer::ok("hello")).await;
    let house = started(&config(tool.address, &plainly(&vault), pace)).await;
    for secret in [FIRST, SECOND] {
        house.directory.had_secret(secret);
    }
    let sandbox = house.busy_sandbox().await;
    (vault, tool, house, sandbox)
}

async fn ask(sandbox: &Sandbox) -> house::Answer {
    sandbox.ask("GET /tools/stripe/a", &[]).await
}

fn sent(tool: &Upstream, secret: &str) -> bool {
    let last = tool.requests().pop().unwrap_or_default();
    last.contains(&format!("authorization: Bearer {secret}\r\n"))
}

#[tokio::test]
async fn a_value_that_is_rotated_in_vault_is_sent_next_and_the_old_one_never_again() {
    let (vault, tool, house, sandbox) = stage("ttl = \"1s\"").await;
    assert_eq!(ask(&sandbox).await.status, 200);
    assert!(sent(&tool, FIRST), "{:?}", tool.requests());
    vault.vault.put(AT, "key", SECOND);
    house.until(|status| status.policy_generation == 2).await;
    assert_eq!(ask(&sandbox).await.status, 200);
    assert!(sent(&tool, SECOND), "{:?}", tool.requests());
    assert_eq!(tool.connections(), 2, "the kept one is not used again");
    // Its token is taken away, and it asks for another.
    vault.vault.revoke_all();
    vault.vault.put(AT, "key", FIRST);
    house.until(|status| status.policy_generation == 3).await;
    assert_eq!(ask(&sandbox).await.status, 200);
    assert!(sent(&tool, FIRST), "{:?}", tool.requests());
    assert_eq!(vault.vault.count("/login"), 2);
}

#[tokio::test]
async fn the_last_value_is_served_while_vault_is_down_and_refused_when_that_lasts_too_long() {
    let (vault, tool, house, sandbox) = stage("ttl = \"1s\"\nkeep = \"4s\"").await;
    vault.vault.seal(true);
    let down = |status: &GateStatus| !status.config_troubles.is_empty();
    let told = house.until(down).await.config_troubles.join("\n");
    assert!(
        told.contains("it is sealed") && told.contains("still served"),
        "{told}"
    );
    assert_eq!(ask(&sandbox).await.status, 200);
    assert!(sent(&tool, FIRST));
    vault.serving.abort();
    let gone = |status: &GateStatus| {
        let told = status.config_troubles.join("\n");
        status.policy_generation >= 2 && told.contains("calls that need it are refused")
    };
    house.until(gone).await;
    let answer = ask(&sandbox).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (503, &"GATE_UNAVAILABLE".into())
    );
    assert_eq!(sandbox.ask("GET /tools/open/a", &[]).await.status, 200);
}

#[tokio::test]
async fn a_gate_starts_without_its_vault_and_has_the_value_once_that_is_there() {
    let vault = served(None).await;
    vault.vault.seal(true);
    let tool = Upstream::start(|_| Answer::ok("hello")).await;
    let house = started(&config(tool.address, &plainly(&vault), "")).await;
    house.directory.had_secret(FIRST);
    let sandbox = house.busy_sandbox().await;
    assert_eq!(ask(&sandbox).await.status, 503);
    vault.vault.seal(false);
    house
        .until(|status| status.policy_generation >= 2 && status.config_troubles.is_empty())
        .await;
    assert_eq!(ask(&sandbox).await.status, 200);
    assert!(sent(&tool, FIRST));
}

#[tokio::test]
async fn vault_must_prove_who_it_is() {
    let authority = tls::ca();
    let vault = served(Some(two::acceptor(authority.leaf("localhost"), &[]))).await;
    let tool = Upstream::start(|_| Answer::ok("hello")).await;
    let port = vault.address.port();
    let at = format!(r#"url = "https://localhost:{port}""#);
    let house = started(&config(tool.address, &at, "")).await;
    assert_eq!(ask(&house.busy_sandbox().await).await.status, 503);
    assert!(
        vault.vault.requests().is_empty(),
        "nothing is said to a stranger"
    );
    let at = format!(r#"{at}, ca = "{}""#, authority.file.display());
    let house = started(&config(tool.address, &at, "")).await;
    house.directory.had_secret(FIRST);
    assert_eq!(ask(&house.busy_sandbox().await).await.status, 200);
    assert!(sent(&tool, FIRST));
}

#[tokio::test]
async fn vault_is_asked_by_way_of_the_proxy_that_the_config_names_from_the_start() {
    let vault = served(None).await;
    let tool = Upstream::start(|_| Answer::ok("hello")).await;
    let proxy = Corporate::start(|_| Does::Leads).await;
    let egress = format!(
        "[egress]\nproxy = \"http://{}\"\nno_proxy = []\n\
         credential = {{ kind = \"basic\", user = \"postern\", secret = \"corp\" }}\n\
         [secrets.corp]\nfile = \"key\"\n",
        proxy.address
    );
    let text = egress + &config(tool.address, &plainly(&vault), "");
    let house = started(&text).await;
    house.directory.had_secret(FIRST);
    assert_eq!(vault.vault.count(AT), 1, "before the gate was there");
    let asked = proxy.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    for head in asked {
        assert!(
            head.starts_with(&format!("CONNECT {} ", vault.address)),
            "{head}"
        );
        assert!(head.contains("Proxy-Authorization: Basic "), "{head}");
    }
    assert_eq!(ask(&house.busy_sandbox().await).await.status, 200);
    assert!(sent(&tool, FIRST));
}

/// What the gate's own directory holds besides what it was given to start with, and what it shows.
async fn everything_told(house: House, log: String) -> String {
    let directory = house.directory.path();
    let metrics = admin(directory, "/metrics").await.body;
    let status = format!("{:?}", house.status().await);
    let mut told = format!("{log}{metrics}{status}");
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let is_given = ["id", ".had-secrets", "key"]
            .iter()
            .any(|name| path.ends_with(name));
        if path.is_file() && !is_given {
            told.push_str(&String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
        }
    }
    told
}

#[tokio::test]
async fn neither_the_value_nor_what_it_is_asked_with_is_told_to_anybody() {
    let vault = served(None).await;
    let tool = Upstream::start(|_| Answer::ok("hello")).await;
    let text = config(tool.address, &plainly(&vault), "ttl = \"1s\"");
    let (directory, _) = house::written(&text);
    directory.had_secret(FIRST);
    let id = directory.path().join("id");
    std::fs::copy(directory.path().join("key"), &id).unwrap();
    std::fs::write(&id, SECRET_ID).unwrap();
    let (house, log) = House::program_told(directory).await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(ask(&sandbox).await.status, 200);
    // Everything goes wrong once.
    vault.vault.revoke_all();
    let login = json!({ "role_id": "postern", "secret_id": "another" });
    vault.vault.let_in("approle", login, Lease::of(3600));
    let down = |status: &GateStatus| !status.config_troubles.is_empty();
    let said = house.until(down).await.config_troubles.join("\n");
    assert!(said.contains("does not take this login"), "{said}");
    assert_eq!(ask(&sandbox).await.status, 200);
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let logged = soon(async {
        loop {
            ticks.tick().await;
            let logged = std::fs::read_to_string(log.path()).unwrap();
            if logged.contains("does not take this login") {
                return logged;
            }
        }
    })
    .await;
    let told = everything_told(house, logged).await;
    assert!(
        told.contains("postern_secret_failures_total{secret=\"stripe\"}"),
        "{told}"
    );
    let given = vault.vault.given();
    assert_eq!(given.len(), 1);
    for secret in [FIRST, SECRET_ID, &given[0]] {
        assert!(!told.contains(secret), "{secret} is told: {told}");
    }
}
