//! Vault over a clock that stands still: one login for all, renewed in time, and what is said when something is wrong.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

use postern_daemon::Clock;
use postern_testkit::vault::{Lease, Vault as Server};
use serde_json::json;
use std::time::Duration;
use tokio::{net::TcpListener, task::JoinHandle};

use super::*;
use crate::{
    dial::{Dialer, World},
    secret::Errands,
};

const SECRET_ID: &str = "84896a0c-1347-aa90-a4f6";
const ROLE: &str = r#"{"role_id":"app","secret_id_file":"id"}"#;

struct Stage {
    server: Server,
    address: String,
    clock: Clock,
    directory: tempfile::TempDir,
    errands: Arc<Errands>,
    sessions: Sessions,
    serving: JoinHandle<()>,
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

async fn stage(lease: Lease) -> Stage {
    let clock = Clock::manual(0);
    let (start, time) = (clock.now(), clock.clone());
    let server = Server::new(move || time.now() - start);
    server.put("secret/data/apps/stripe", "key", "sk_1");
    server.put("secret/data/apps/other", "key", "sk_other");
    let login = json!({ "role_id": "app", "secret_id": SECRET_ID });
    server.let_in("approle", login, lease);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let vault = server.clone();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(vault.clone().attend(stream));
        }
    });
    let directory = tempfile::tempdir().unwrap();
    private(&directory.path().join("id"), SECRET_ID);
    let dialer = Arc::new(Dialer::new(World::default(), Clock::system()));
    Stage {
        server,
        address,
        errands: Arc::new(Errands::new(&dialer, &clock)),
        clock,
        directory,
        sessions: Sessions::default(),
        serving,
    }
}

impl Stage {
    fn vault(&self, login: &str, more: &str) -> Vault {
        let url = format!(r#""url":"http://{}","plaintext":true"#, self.address);
        let at = if more.contains(r#""path""#) {
            ""
        } else {
            r#","path":"apps/stripe""#
        };
        let text = format!(r#"{{{url}{at},"field":"key","login":{login}{more}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    async fn ask(&self, vault: &Vault) -> Result<String, String> {
        self.ask_for(vault, Duration::from_secs(60)).await
    }

    async fn ask_for(&self, vault: &Vault, time: Duration) -> Result<String, String> {
        let asking = Asking {
            directory: self.directory.path(),
            time,
            last: None,
            errands: &self.errands,
            sessions: &self.sessions,
        };
        let value = vault.ask(asking).await.map_err(|error| error.to_string())?;
        Ok(String::from_utf8(value.expose().to_vec()).unwrap())
    }

    /// Lets time pass, and waits until Vault was asked so often for what ends like this.
    async fn later(&self, seconds: u64, (end, count): (&str, usize)) {
        self.clock.advance(Duration::from_secs(seconds));
        while self.server.count(end) < count {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn several_secrets_of_one_vault_share_one_login() {
    let stage = stage(Lease::of(60)).await;
    let (first, second) = (
        stage.vault(ROLE, ""),
        stage.vault(ROLE, r#","path":"apps/other""#),
    );
    let (one, other) = tokio::join!(stage.ask(&first), stage.ask(&second));
    assert_eq!(
        (one.unwrap(), other.unwrap()),
        ("sk_1".into(), "sk_other".into())
    );
    stage.server.put("secret/data/apps/stripe", "key", "sk_2");
    assert_eq!(stage.ask(&first).await.unwrap(), "sk_2");
    assert_eq!(stage.server.count("/login"), 1);
    // Nobody wants it any more.
    stage.sessions.keep([].into_iter());
    assert_eq!(stage.ask(&first).await.unwrap(), "sk_2");
    assert_eq!(stage.server.count("/login"), 2);
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end_and_outlives_its_first_lease() {
    let stage = stage(Lease::of(60)).await;
    let vault = stage.vault(ROLE, "");
    stage.ask(&vault).await.unwrap();
    stage.clock.advance(Duration::from_secs(39));
    assert_eq!(stage.server.count("renew-self"), 0);
    for times in 1..=5 {
        stage
            .later(if times == 1 { 1 } else { 40 }, ("renew-self", times))
            .await;
        assert_eq!(stage.ask(&vault).await.unwrap(), "sk_1");
    }
    assert_eq!(stage.server.count("/login"), 1);
}

#[tokio::test]
async fn a_token_that_has_no_more_time_to_be_given_is_followed_by_another_before_its_end() {
    let most = Lease {
        ttl_max: 100,
        ..Lease::of(60)
    };
    let stage = stage(most).await;
    let vault = stage.vault(ROLE, "");
    stage.ask(&vault).await.unwrap();
    stage.later(40, ("renew-self", 1)).await;
    assert_eq!(stage.ask(&vault).await.unwrap(), "sk_1");
    assert_eq!(stage.server.count("/login"), 1);
    // There are twenty seconds left: less than half of what it had.
    stage.later(40, ("/login", 2)).await;
    assert_eq!(stage.ask(&vault).await.unwrap(), "sk_1");
    assert_eq!(stage.server.count("/login"), 2);
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_is_followed_by_another_before_its_end() {
    let fixed = Lease {
        renewable: false,
        ..Lease::of(60)
    };
    let stage = stage(fixed).await;
    let vault = stage.vault(ROLE, "");
    stage.ask(&vault).await.unwrap();
    stage.later(40, ("/login", 2)).await;
    assert_eq!(stage.ask(&vault).await.unwrap(), "sk_1");
    assert_eq!(stage.server.count("renew-self"), 0);
}

#[tokio::test]
async fn a_renewal_that_fails_is_tried_again_while_the_token_lives() {
    let stage = stage(Lease::of(60)).await;
    let vault = stage.vault(ROLE, "");
    stage.ask(&vault).await.unwrap();
    stage.server.seal(true);
    stage.later(40, ("renew-self", 1)).await;
    assert!(stage.ask(&vault).await.unwrap_err().contains("sealed"));
    assert_eq!(stage.server.count("renew-self"), 1, "it rests between");
    stage.server.seal(false);
    stage.later(6, ("renew-self", 2)).await;
    assert_eq!(stage.ask(&vault).await.unwrap(), "sk_1");
    assert_eq!(stage.server.count("/login"), 1);
}

#[tokio::test]
async fn a_dead_token_costs_one_login_and_a_living_one_none() {
    let stage = stage(Lease::of(0)).await;
    let vault = stage.vault(ROLE, "");
    stage.ask(&vault).await.unwrap();
    stage.server.revoke_all();
    let (one, other) = tokio::join!(stage.ask(&vault), stage.ask(&vault));
    assert_eq!(
        (one.unwrap(), other.unwrap()),
        ("sk_1".into(), "sk_1".into())
    );
    assert_eq!(stage.server.count("/login"), 2);
    // Every token is let in and none may read this.
    stage.server.forbid("secret/data/apps/stripe");
    for _ in 0..3 {
        let error = stage.ask(&vault).await.unwrap_err();
        assert!(
            error.contains("answered 403: this login may not read it"),
            "{error}"
        );
    }
    assert_eq!(stage.server.count("/login"), 2);
    // A newer token may be allowed more.
    stage.clock.advance(Duration::from_secs(3600));
    stage.ask(&vault).await.unwrap_err();
    assert_eq!(stage.server.count("/login"), 3);
}

#[tokio::test]
async fn a_login_that_may_not_look_at_its_token_is_not_repeated_each_time() {
    let stage = stage(Lease::of(0)).await;
    let vault = stage.vault(ROLE, "");
    stage.server.forbid("auth/token/lookup-self");
    stage.ask(&vault).await.unwrap();
    for dead in 1..3 {
        stage.server.revoke_all();
        assert_eq!(stage.ask(&vault).await.unwrap(), "sk_1");
        assert_eq!(stage.server.count("/login"), 1 + dead);
    }
    stage.server.forbid("secret/data/apps/stripe");
    for _ in 0..4 {
        stage.ask(&vault).await.unwrap_err();
        assert_eq!(stage.server.count("/login"), 4);
    }
    stage.clock.advance(Duration::from_secs(600));
    stage.ask(&vault).await.unwrap_err();
    assert_eq!(stage.server.count("/login"), 5);
}

#[test]
fn being_asked_too_much_is_no_refusal() {
    let vault: Vault = serde_json::from_str(
        r#"{"url":"https://vault.example","path":"a","field":"b","login":{"token_file":"t"}}"#,
    )
    .unwrap();
    let said = |status: u16| {
        let status = http::StatusCode::from_u16(status).unwrap();
        vault.account.failed(Step::Renew, Why::Status(status, ""))
    };
    assert!(said(400).is_refusal() && said(403).is_refusal());
    assert!(!said(429).is_refusal() && !said(503).is_refusal());
}

#[tokio::test]
async fn a_token_from_a_file_is_renewed_and_read_anew_when_it_is_dead() {
    let stage = stage(Lease::of(60)).await;
    let login = r#"{"token_file":"token"}"#;
    let vault = stage.vault(login, "");
    let file = stage.directory.path().join("token");
    assert!(
        stage
            .ask(&vault)
            .await
            .unwrap_err()
            .contains("token: No such file")
    );
    fs::write(&file, "hvs.first").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(stage.ask(&vault).await.unwrap_err().contains("chmod 600"));
    assert!(vault.inspect(stage.directory.path()).is_err());
    private(&file, "hvs.first\n");
    assert!(vault.inspect(stage.directory.path()).is_ok());
    let error = stage.ask(&vault).await.unwrap_err();
    assert!(error.contains("403") && !error.contains("hvs."), "{error}");
    stage.server.know("hvs.first", Lease::of(60));
    assert_eq!(stage.ask(&vault).await.unwrap(), "sk_1");
    stage.later(40, ("renew-self", 1)).await;
    stage.server.revoke_all();
    stage.server.know("hvs.second", Lease::of(60));
    private(&file, "hvs.second\n");
    assert_eq!(stage.ask(&vault).await.unwrap(), "sk_1");
    assert_eq!(stage.server.count("/login"), 0);
}

#[tokio::test]
async fn a_pod_logs_in_with_the_token_of_its_service_account() {
    let stage = stage(Lease::of(60)).await;
    let login = json!({ "role": "gate", "jwt": "eyJh.eyJz.c2ln" });
    stage.server.let_in("clusters/one", login, Lease::of(60));
    // As Kubernetes writes it: others may read it.
    fs::write(stage.directory.path().join("jwt"), "eyJh.eyJz.c2ln").unwrap();
    let login = r#"{"role":"gate","jwt_file":"jwt","mount":"clusters/one"}"#;
    assert_eq!(stage.ask(&stage.vault(login, "")).await.unwrap(), "sk_1");
}

#[tokio::test]
async fn what_is_wrong_is_said_without_a_word_of_vaults() {
    let stage = stage(Lease::of(60)).await;
    let path = |path: &str| stage.vault(ROLE, &format!(r#","path":"{path}""#));
    let said = stage.ask(&path("apps/none")).await.unwrap_err();
    let wanted = format!(
        "Vault at {}, reading `secret/apps/none`: it answered 404: nothing is there",
        stage.address
    );
    assert!(said.starts_with(&wanted), "{said}");
    let field = stage.vault(ROLE, "");
    let field = Vault {
        field: "none".to_owned(),
        ..field
    };
    assert!(
        stage
            .ask(&field)
            .await
            .unwrap_err()
            .contains("no such `field`")
    );
    let namespaced = stage.vault(ROLE, r#","namespace":"team-a/""#);
    let said = stage.ask(&namespaced).await.unwrap_err();
    assert!(
        said.contains("logging in: it answered 404") && said.contains("`namespace`"),
        "{said}"
    );
    stage.server.only_in("team-a");
    assert_eq!(stage.ask(&namespaced).await.unwrap(), "sk_1");
    private(&stage.directory.path().join("id"), "wrong");
    stage.sessions.keep([].into_iter());
    let said = stage.ask(&namespaced).await.unwrap_err();
    assert!(
        said.contains("answered 400: it does not take this login") && !said.contains("wrong"),
        "{said}"
    );
    stage.server.seal(true);
    assert!(
        stage
            .ask(&namespaced)
            .await
            .unwrap_err()
            .contains("answered 503: it is sealed")
    );
    stage.serving.abort();
    drop(stage.serving);
    let mut said = String::new();
    while !said.contains("could not be reached") {
        said = {
            let asking = Asking {
                directory: stage.directory.path(),
                time: Duration::from_secs(60),
                last: None,
                errands: &stage.errands,
                sessions: &stage.sessions,
            };
            namespaced.ask(asking).await.unwrap_err().to_string()
        };
    }
}

#[tokio::test]
async fn an_answer_has_bounds_in_size_and_time() {
    let stage = stage(Lease::of(60)).await;
    let vault = stage.vault(ROLE, "");
    stage
        .server
        .put("secret/data/apps/stripe", "key", &"a".repeat(65 << 10));
    assert!(
        stage
            .ask(&vault)
            .await
            .unwrap_err()
            .contains("value is larger than 64 KiB")
    );
    stage
        .server
        .put("secret/data/apps/stripe", "key", &"a".repeat(3 << 20));
    assert!(
        stage
            .ask(&vault)
            .await
            .unwrap_err()
            .contains("answer is larger than 2048 KiB")
    );
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let text = format!(
        r#"{{"url":"http://{address}","plaintext":true,"path":"a","field":"b","login":{ROLE}}}"#
    );
    let vault: Vault = serde_json::from_str(&text).unwrap();
    let said = stage
        .ask_for(&vault, Duration::from_millis(20))
        .await
        .unwrap_err();
    assert!(said.contains("did not answer within `timeout`"), "{said}");
}

#[test]
fn what_cannot_be_is_refused_when_it_is_read() {
    let read = |more: &str, login: &str| {
        let text = format!(r#"{{"field":"f","login":{login},{more}}}"#);
        serde_json::from_str::<Vault>(&text).map_err(|error| error.to_string())
    };
    let good = r#""url":"https://vault.example:8200/base/","path":"apps/a key","mount":"kv/one""#;
    let vault = read(good, ROLE).unwrap();
    assert_eq!(vault.at, "kv/one/data/apps/a%20key");
    for (more, wanted) in [
        (r#""url":"http://a.b","path":"p""#, "plaintext = true"),
        (
            r#""url":"https://a.b","path":"p","plaintext":true"#,
            "for http",
        ),
        (
            r#""url":"http://a.b","path":"p","plaintext":true,"ca":"f""#,
            "`ca`",
        ),
        (r#""url":"https://a.b?c","path":"p""#, "query"),
        (r#""url":"https://a.b","path":"/p""#, "`path`"),
        (r#""url":"https://a.b","path":"a/../b""#, "`path`"),
        (r#""url":"https://a.b","path":"""#, "`path`"),
        (r#""url":"https://a.b","path":"p","mount":"kv/""#, "`mount`"),
        (
            r#""url":"https://a.b","path":"p","namespace":"a b""#,
            "`namespace`",
        ),
    ] {
        let error = read(more, ROLE).unwrap_err();
        assert!(error.contains(wanted), "{more}: {error}");
    }
    for login in [
        "{}",
        r#"{"role_id":"a"}"#,
        r#"{"token_file":"a","role":"b"}"#,
        r#"{"token_file":"a","mount":"b"}"#,
        r#"{"role_id":"a","secret_id_file":"b","jwt_file":"c"}"#,
        r#"{"role":"a","secret_id_file":"c"}"#,
    ] {
        assert!(
            read(good, login).unwrap_err().contains("a login is"),
            "{login}"
        );
    }
}

#[test]
fn only_the_wanted_field_is_taken_out_of_an_answer() {
    let body = br#"{"data":{"data":{"key":"a\"b\n","n":7,"o":{"p":1}},"metadata":{}},"auth":null}"#;
    assert!(api::field(body, "key").unwrap().is(b"a\"b"));
    assert!(api::field(body, "n").is_err() && api::field(body, "o").is_err());
    let deleted = br#"{"data":{"data":null,"metadata":{"deletion_time":"x"}}}"#;
    assert!(matches!(api::field(deleted, "key"), Err(Why::NoField)));
    assert!(matches!(api::field(b"hunter2", "key"), Err(Why::NotJson)));
    let asks_for_more = br#"{"auth":{"client_token":"","lease_duration":0,"renewable":false}}"#;
    assert!(matches!(api::granted(asks_for_more), Err(Why::Unfit)));
}
