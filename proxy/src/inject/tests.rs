//! What nothing is added to, whoever asks for it.

use postern_contract::SandboxId;
use postern_daemon::Clock;
use postern_policy::{CanonicalUrl, Evidence, Facts};
use tokio::net::TcpListener;

use super::*;
use crate::{
    body,
    book::Target,
    config::Config,
    dial::{Dialer, Journey, Speaks, World},
};

/// The header fields after something was added.
pub(super) fn drafted(
    headers: HeaderMap,
    add: impl FnOnce(&mut Draft<'_>) -> Result<(), Unfit>,
) -> Result<HeaderMap, Unfit> {
    added(("/", headers), add).map(|draft| draft.1)
}

/// Path and query after something was added.
pub(super) fn targeted(
    target: &str,
    add: impl FnOnce(&mut Draft<'_>) -> Result<(), Unfit>,
) -> Result<String, Unfit> {
    added((target, HeaderMap::new()), add).map(|draft| draft.0)
}

fn added(
    (target, headers): (&str, HeaderMap),
    add: impl FnOnce(&mut Draft<'_>) -> Result<(), Unfit>,
) -> Result<(String, HeaderMap), Unfit> {
    let authority = "https://t.example".parse::<CanonicalUrl>().unwrap();
    let mut draft = Draft {
        method: "GET",
        authority: authority.authority(),
        target: target.to_owned(),
        headers,
        body: body::empty(),
        shown: Shown::Absent,
        now_ms: 0,
    };
    add(&mut draft)?;
    Ok((draft.target, draft.headers))
}

#[tokio::test]
async fn a_call_that_only_audit_mode_lets_pass_carries_no_credential_whoever_hands_one_in() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tool = upstream.local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("postern.toml");
    let text = format!(
        "[tools.crm]\nurl = \"http://{tool}/\"\nprivate = true\n\
         [policies.watch]\nmode = \"audit\"\n\
         [agents.desk]\ntools = [\"crm\"]\npolicies = [\"watch\"]\n"
    );
    std::fs::write(&path, text).unwrap();
    let book = Config::read(&path).unwrap().into_book(1).unwrap();
    let url: CanonicalUrl = format!("http://{tool}/a").parse().unwrap();
    let (agent, method) = ("desk".parse().unwrap(), "GET".parse().unwrap());
    let facts = Facts {
        stage: None,
        agent: &agent,
        method: &method,
        url: &url,
        tool: book.rulebook.route(&url).map(postern_policy::Route::tool),
    };
    let watched = book.rulebook.watched(&facts, &Evidence::none()).unwrap();
    let permit = Permit::from(watched);
    let target = Target::default();
    let dialer = Dialer::new(World::default(), Clock::system());
    let journey = Journey {
        permit: &permit,
        private: true,
        sandbox: &SandboxId::fresh(),
        credential: None,
        user: None,
        is_signed: false,
        identity: None,
        generation: 1,
        speaks: Speaks::default(),
        manner: &target.manner,
        proxy: None,
    };
    let leg = dialer.reach(&journey).await.unwrap();
    let credentials: Credentials =
        serde_json::from_str(r#"{"kind":"bearer","secret":"crm"}"#).unwrap();
    let secrets = Secrets::of([("crm", "sk_live")]);
    let addition = Addition {
        credentials: &credentials,
        values: Values::of(&secrets),
        purse: None,
    };
    let outbound = || Outbound::new(HeaderMap::new(), body::empty());
    let refused = apply(&permit, &leg, Some(addition), outbound());
    assert!(matches!(refused, Err(Misdirected::Unearned)));
    assert!(apply(&permit, &leg, None, outbound()).is_ok());
}
