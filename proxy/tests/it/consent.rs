//! End users who are asked, in a browser with cookies, by way of a provider that forgives nothing; and everybody who would like to
//! answer in their place.

use std::{fs, time::Duration};

use postern_contract::{
    ActionId, RunId,
    consent::Consented,
    link::{News, Origin, Reply},
};
use postern_testkit::{
    Browser, Curl, Provider,
    browser::{form_of, location},
    curl::Response,
};

use crate::{
    house::{self, House, SECRET, Sandbox},
    upstream::{Answer, Upstream},
};

struct Stage {
    provider: Provider,
    tool: Upstream,
    house: House,
    runtime: Sandbox,
}

fn config(tool: &Upstream, provider: &Provider, besides: &str) -> String {
    let (tool, provider) = (tool.address, provider.url());
    format!(
        r#"
[consent]
listen = "127.0.0.1:0"

[secrets.app]
file = "key"

[tools.mail]
url = "http://{tool}/mail"
private = true

[tools.mail.credential]
kind = "authorization_code"
authorization_url = "{provider}/authorize"
token_url = {{ url = "{provider}/token", private = true, plaintext = true }}
client_id = "postern-test"
client_secret = "app"
scopes = ["openid", "mail.read"]
{besides}

[[policies.support.rules]]
name = "the tool"
permission = "allow"
resource = "http://{tool}/*"

[agents.desk]
kind = "builtin"
tools = ["mail"]
policies = ["support"]
"#
    )
}

impl Stage {
    async fn start(besides: &str) -> Self {
        let provider = Provider::start(Some(SECRET));
        provider.logged_in("ada");
        let tool = Upstream::start(|_| Answer::ok("hello")).await;
        let house = House::start(&config(&tool, &provider, besides)).await;
        let runtime = house.sandbox(Origin::Runtime).await;
        Self {
            provider,
            tool,
            house,
            runtime,
        }
    }

    async fn call(&self, run: &str, user: &str) -> house::Answer {
        let fields = [format!("x-run-id: {run}"), format!("x-end-user-id: {user}")];
        let fields = fields.each_ref().map(String::as_str);
        self.runtime.ask("GET /tools/mail/a", &fields).await
    }

    /// A call that is refused until its user has consented: where, and by what its run goes on.
    async fn link(&self, run: &str, user: &str) -> (String, ActionId) {
        let answer = self.call(run, user).await;
        assert_eq!(answer.status, 403, "{answer:?}");
        let head = answer.head.to_lowercase();
        assert!(
            head.contains("x-postern-decision: consent_required"),
            "{answer:?}"
        );
        let said = answer.json();
        assert_eq!(
            (&said["code"], &said["error"]),
            (&said["error"], &"CONSENT_REQUIRED".into())
        );
        assert_eq!(
            (&said["tool"], &said["run_id"]),
            (&"mail".into(), &run.into())
        );
        let text = |name: &str| said[name].as_str().unwrap().to_owned();
        (
            text("authorization_url"),
            text("resume_id").parse().unwrap(),
        )
    }

    async fn stands(&self, action: &ActionId) -> Consented {
        let action = action.clone();
        match self.house.tell(News::Consent { action }, None).await {
            Reply::Consent(stands) => stands,
            other => panic!("{other:?}"),
        }
    }

    fn had_tokens(&self) {
        for token in self.provider.given() {
            self.house.directory.had_secret(&token);
        }
    }
}

/// Something with a browser, which waits for answers of the gate in this very process.
async fn away<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(what).await.unwrap()
}

async fn consents(link: &str) -> Response {
    let link = link.to_owned();
    away(move || Browser::default().consent(&link)).await
}

fn is_a_page(page: &Response, status: u16, words: &str) {
    assert_eq!(page.status, status, "{page:?}");
    assert!(page.body.contains(words), "{page:?}");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
}

#[tokio::test]
async fn a_users_consent_gives_their_calls_a_token_of_their_own_and_nobody_elses() {
    let stage = Stage::start("").await;
    let (link, action) = stage.link("run_1", "ada").await;
    assert_eq!(stage.stands(&action).await, Consented::Pending);
    // The same run asks once.
    assert_eq!(
        stage.link("run_1", "ada").await,
        (link.clone(), action.clone())
    );
    let (other, _) = stage.link("run_2", "ada").await;
    assert_ne!(link, other);
    is_a_page(&consents(&link).await, 200, "Thank you");
    assert_eq!(stage.stands(&action).await, Consented::Given);
    assert_eq!(stage.call("run_1", "ada").await.status, 200);
    assert_eq!(stage.call("run_2", "ada").await.status, 200);
    assert_eq!(stage.tool.connections(), 1);
    let (link, _) = stage.link("run_3", "eve").await;
    stage.provider.logged_in("eve");
    is_a_page(&consents(&link).await, 200, "Thank you");
    assert_eq!(stage.call("run_3", "eve").await.status, 200);
    assert_eq!(stage.tool.connections(), 2, "two users shared one");
    let sent = stage.tool.requests();
    let carried = |request: &String, user: &str| {
        request.contains(&format!(
            "authorization: Bearer access-token-of-{user}-number-"
        ))
    };
    assert!(
        carried(&sent[0], "ada") && carried(&sent[1], "ada") && carried(&sent[2], "eve"),
        "{sent:?}"
    );
    assert_eq!(stage.provider.refused(), [""; 0]);
    let lines = stage.house.audit();
    assert_eq!(lines[0]["consent"], action.as_str());
    assert_eq!(lines[0]["reason"], "CONSENT_REQUIRED");
    stage.had_tokens();
    assert_eq!(stage.stands(&ActionId::fresh()).await, Consented::Unknown);
}

#[tokio::test]
async fn a_link_only_opens_a_page_that_names_everybody() {
    let stage = Stage::start("").await;
    let (link, action) = stage.link("run_1", "<ada>").await;
    let page = away({
        let link = link.clone();
        move || Browser::default().open(&link)
    })
    .await;
    is_a_page(&page, 200, "<strong>desk</strong>");
    for words in [
        "<strong>mail</strong>",
        "mail.read",
        "&lt;ada&gt;",
        "method=\"post\"",
    ] {
        assert!(page.body.contains(words), "{words}: {page:?}");
    }
    assert!(!page.body.contains("<ada>"), "{page:?}");
    assert!(!page.body.contains("code_challenge") && page.header("location").is_none());
    assert_eq!(stage.stands(&action).await, Consented::Pending);
    // A form that its page did not make, or another browser's, goes nowhere.
    let (form, said) = (form_of(&page.body).unwrap(), link.clone());
    let sent = away(move || {
        let other = Browser::default();
        let first = other.submit(&said, &form);
        drop(other.open(&said));
        [first, other.submit(&said, &form), other.submit(&said, "")]
    });
    for page in sent.await {
        is_a_page(&page, 403, "Not from here");
    }
    // Nor is there anything else.
    let (base, name) = link.rsplit_once("/consent/").unwrap();
    let last = if name.ends_with('A') { 'B' } else { 'A' };
    let mut forged = name.to_owned();
    forged.replace_range(..5, "act_z");
    let paths = [
        (404, "/".to_owned()),
        (404, "/metrics".to_owned()),
        (400, format!("/consent/{last}")),
        (400, format!("/consent/{forged}")),
        (400, "/callback".to_owned()),
        (400, "/callback?state=a&state=b".to_owned()),
    ];
    for (status, path) in paths {
        let url = format!("{base}{path}");
        let page = away(move || Browser::default().open(&url)).await;
        is_a_page(&page, status, "<h1>");
    }
}

#[tokio::test]
async fn a_login_counts_once_in_its_own_browser_with_its_own_state() {
    let stage = Stage::start("").await;
    let (link, action) = stage.link("run_1", "ada").await;
    let (pages, last) = away(move || {
        let (browser, other) = (Browser::default(), Browser::default());
        // A state of an earlier way is over when another is begun.
        let old = browser.log_in(&link);
        let back = browser.log_in(&link);
        let superseded = browser.open(&old);
        let tampered = browser.open(&back.replace("state=act_", "state=act_0"));
        let without = Curl::get(&back).send();
        drop(other.open(&link));
        let elsewhere = other.open(&back);
        let twice = browser.open(&format!("{back}&code=mine"));
        let good = browser.open(&back);
        let again = browser.open(&back);
        let pages = [superseded, tampered, without, elsewhere, twice];
        (pages, [good, again])
    })
    .await;
    let [superseded, tampered, without, elsewhere, twice] = pages;
    is_a_page(&superseded, 409, "Used already");
    is_a_page(&tampered, 400, "Not a link of ours");
    is_a_page(&without, 403, "Another browser");
    is_a_page(&elsewhere, 403, "Another browser");
    is_a_page(&twice, 400, "Not a link of ours");
    let [good, again] = last;
    is_a_page(&good, 200, "Thank you");
    is_a_page(&again, 409, "Done already");
    assert_eq!(stage.stands(&action).await, Consented::Given);
    assert_eq!(stage.provider.refused(), [""; 0]);
    stage.had_tokens();
}

#[tokio::test]
async fn a_code_is_tried_once_whatever_comes_of_it() {
    let stage = Stage::start("").await;
    let (link, action) = stage.link("run_1", "ada").await;
    let [stolen, again] = away(move || {
        let browser = Browser::default();
        let back = browser.log_in(&link);
        let (before, _) = back.split_once("&code=").unwrap();
        let stolen = format!("{before}&code=of-somebody-else");
        [browser.open(&stolen), browser.open(&back)]
    })
    .await;
    is_a_page(&stolen, 502, "No answer");
    is_a_page(&again, 409, "Used already");
    assert_eq!(stage.stands(&action).await, Consented::Pending);
}

#[tokio::test]
async fn another_provider_another_user_and_a_no_are_no_consent() {
    let bound = "issuer = \"https://login.test\"\nlogin = \"sub\"";
    let stage = Stage::start(bound).await;
    let (link, action) = stage.link("run_1", "ada").await;
    stage.provider.calls_itself("https://evil.test");
    is_a_page(&consents(&link).await, 400, "Another provider");
    stage.provider.calls_itself("https://login.test");
    stage.provider.declines(true);
    is_a_page(&consents(&link).await, 403, "Not granted");
    stage.provider.declines(false);
    stage.provider.logged_in("eve");
    is_a_page(&consents(&link).await, 403, "Another user");
    assert_eq!(stage.stands(&action).await, Consented::Pending);
    assert_eq!(stage.call("run_1", "ada").await.status, 403);
    stage.provider.logged_in("ada");
    is_a_page(&consents(&link).await, 200, "Thank you");
    assert_eq!(stage.call("run_1", "ada").await.status, 200);
    stage.had_tokens();
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_cannot_be_consented_to() {
    let stage = Stage::start("").await;
    let (link, action) = stage.link("run_1", "ada").await;
    let (browser, back) = away({
        let link = link.clone();
        move || {
            let browser = Browser::default();
            let back = browser.log_in(&link);
            (browser, back)
        }
    })
    .await;
    let withdrawn = action.clone();
    stage
        .house
        .done(News::Withdrawn { action: withdrawn })
        .await;
    assert_eq!(stage.stands(&action).await, Consented::Expired);
    let [page, returned] = away(move || [browser.open(&link), browser.open(&back)]).await;
    is_a_page(&page, 410, "Too late");
    is_a_page(&returned, 410, "Too late");
}

#[tokio::test]
async fn only_a_user_who_is_known_to_be_one_is_asked() {
    let stage = Stage::start("").await;
    let nobody = stage
        .runtime
        .ask("GET /tools/mail/a", &["x-run-id: run_1"])
        .await;
    assert_eq!(
        (nobody.status, nobody.json()["code"].as_str()),
        (403, Some("POLICY_DENIED"))
    );
    let shared = stage.house.sandbox(Origin::Sandbox).await;
    let started = |sandbox: &Sandbox, run: &str| News::RunStarted {
        sandbox: sandbox.id.clone(),
        run: run.parse::<RunId>().unwrap(),
        user: Some("ada".to_owned()),
    };
    stage.house.done(started(&shared, "run_2")).await;
    let guessed = shared
        .ask("GET /tools/mail/a", &["x-end-user-id: ada"])
        .await;
    assert_eq!(
        (guessed.status, guessed.json()["code"].as_str()),
        (403, Some("POLICY_DENIED"))
    );
    let own = stage.house.sandbox(Origin::User).await;
    stage.house.done(started(&own, "run_3")).await;
    let asked = own.ask("GET /tools/mail/a", &["x-end-user-id: eve"]).await;
    assert_eq!(asked.json()["code"], "CONSENT_REQUIRED");
    let link = asked.json()["authorization_url"]
        .as_str()
        .unwrap()
        .to_owned();
    // The page is for browsers: no agent gets there, whatever a rule says.
    let mine = own
        .send(&format!(
            "GET {link} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        ))
        .await;
    assert_ne!(mine.status, 200, "{mine:?}");
    is_a_page(&consents(&link).await, 200, "Thank you");
    assert_eq!(own.ask("GET /tools/mail/a", &[]).await.status, 200);
    stage.had_tokens();
}

#[tokio::test]
async fn a_token_is_renewed_in_time_and_outlives_the_gate_until_it_is_taken_back() {
    let stage = Stage::start("").await;
    stage.provider.tokens_live(4);
    let (link, _) = stage.link("run_1", "ada").await;
    is_a_page(&consents(&link).await, 200, "Thank you");
    // It lives too short to be handed out as it was kept, and the refresh token rotates.
    assert_eq!(stage.call("run_1", "ada").await.status, 200);
    let Stage {
        provider,
        tool,
        house,
        ..
    } = stage;
    let text = fs::read_to_string(house.directory.path().join("postern.toml")).unwrap();
    let state = house.stop().await;
    for name in ["gate.db", "audit.jsonl"] {
        let bytes = fs::read(state.path().join(name)).unwrap();
        for token in provider.given() {
            let found = bytes
                .windows(token.len())
                .any(|window| window == token.as_bytes());
            assert!(!found, "{name} holds a token");
        }
    }
    let house = House::start_with(&text, |fresh| {
        for name in ["gate.db", "gate.db-wal", "tokens.key"] {
            let copied = fs::copy(state.path().join(name), fresh.join(name));
            assert!(copied.is_ok() || name == "gate.db-wal", "{copied:?}");
        }
    })
    .await;
    let runtime = house.sandbox(Origin::Runtime).await;
    let stage = Stage {
        provider,
        tool,
        house,
        runtime,
    };
    assert_eq!(stage.call("run_2", "ada").await.status, 200);
    assert_eq!(stage.provider.refused(), [""; 0]);
    stage.had_tokens();
    // Somebody takes their consent back: the next renewal finds out.
    stage.provider.revoke();
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    house::soon(async {
        while stage.call("run_3", "ada").await.status != 403 {
            ticks.tick().await;
        }
    })
    .await;
    let (link, _) = stage.link("run_3", "ada").await;
    is_a_page(&consents(&link).await, 200, "Thank you");
    assert_eq!(stage.call("run_3", "ada").await.status, 200);
    stage.had_tokens();
}

#[tokio::test]
async fn what_leaves_for_the_provider_is_bound_to_the_browser_and_never_a_secret() {
    let stage = Stage::start("").await;
    let (link, _) = stage.link("run_1", "ada").await;
    let sent = away(move || Browser::default().press(&link)).await;
    assert_eq!(sent.status, 303, "{sent:?}");
    let there = location(&sent);
    assert!(
        there.starts_with(&format!("{}/authorize?", stage.provider.url())),
        "{there}"
    );
    for said in [
        "code_challenge_method=S256",
        "response_type=code",
        "state=act_",
        "scope=openid%20mail.read",
    ] {
        assert!(there.contains(said), "{said}: {there}");
    }
    assert!(
        !there.contains(SECRET) && !there.contains("verifier"),
        "{there}"
    );
    assert_eq!(sent.header("cache-control"), Some("no-store"));
}
