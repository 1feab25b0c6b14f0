//! What agents are told, read by another's parser of DNS. Never over a socket.

use hickory_resolver::proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RecordType},
};
use postern_contract::config::{Document, Granted, Ignored};

use super::*;
use crate::dns::synthetic::NAMES_PER_SANDBOX_MAX;

const CONFIG: &str = r#"{
    "default_agent": "desk",
    "tools": {
        "crm": { "url": "https://crm.example:8443/v1" },
        "other": { "url": "https://other.example" }
    },
    "policies": { "open": { "rules": [
        { "name": "read", "permission": "allow", "resource": "https://api.example/v1/*", "operations": ["GET"] },
        { "name": "zone", "permission": "allow", "resource": "https://*.zone.example/*" },
        { "name": "no", "permission": "deny", "resource": "https://denied.example/*" }
    ] } },
    "agents": { "desk": { "tools": ["crm"], "policies": ["open"] }, "idle": { "tools": ["crm"] } }
}"#;

fn book() -> Rulebook {
    let document: Document<Granted, Ignored, Ignored> = serde_json::from_str(CONFIG).unwrap();
    Rulebook::compile(&document).unwrap()
}

fn message(name: &str, kind: RecordType, class: DNSClass) -> Vec<u8> {
    let mut query = Query::query(Name::from_ascii(name).unwrap(), kind);
    query.set_query_class(class);
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(query);
    message.set_edns(Edns::new());
    message.to_vec().unwrap()
}

/// What an agent is told: the code, and the records as text.
fn asked(
    agent: &str,
    names: &Synthetic,
    name: &str,
    kind: RecordType,
) -> (ResponseCode, Vec<String>) {
    let message = message(name, kind, DNSClass::IN);
    let reply = answer(
        &message,
        &book(),
        Holder::agent(&agent.parse().unwrap()),
        names,
    )
    .reply
    .unwrap();
    let read = Message::from_vec(&reply).unwrap();
    let records = read.answers.iter().map(|record| record.data.to_string());
    (read.metadata.response_code, records.collect())
}

#[test]
fn what_could_be_allowed_has_addresses_and_nothing_else_exists() {
    let names = Synthetic::default();
    let (fine, nobody) = (ResponseCode::NoError, ResponseCode::NXDomain);
    for (name, first) in [
        ("crm.example.", 1),
        ("API.example.", 2),
        ("a.b.zone.example.", 3),
    ] {
        assert_eq!(
            asked("desk", &names, name, RecordType::A),
            (fine, vec![format!("198.18.0.{first}")])
        );
        assert_eq!(
            asked("desk", &names, name, RecordType::AAAA),
            (fine, vec![format!("fd70:6f73:7465:726e::{first}")])
        );
    }
    for name in [
        "other.example.",
        "denied.example.",
        "zone.example.",
        "example.",
        "evil.example.net.",
        ".",
    ] {
        assert_eq!(
            asked("desk", &names, name, RecordType::A),
            (nobody, vec![]),
            "{name}"
        );
    }
    // Who has no policy is allowed nothing.
    assert_eq!(
        asked("idle", &names, "crm.example.", RecordType::A),
        (nobody, vec![])
    );
    assert_eq!(
        asked("desk", &names, "localhost.", RecordType::A),
        (fine, vec!["127.0.0.1".into()])
    );
}

#[test]
fn whatever_else_is_asked_about_a_name_has_no_answer() {
    let names = Synthetic::default();
    for kind in [
        RecordType::TXT,
        RecordType::NULL,
        RecordType::HTTPS,
        RecordType::SVCB,
        RecordType::SRV,
        RecordType::MX,
        RecordType::CNAME,
        RecordType::ANY,
        RecordType::AXFR,
    ] {
        let fine = (ResponseCode::NoError, vec![]);
        assert_eq!(asked("desk", &names, "crm.example.", kind), fine, "{kind}");
        let nobody = (ResponseCode::NXDomain, vec![]);
        assert_eq!(
            asked("desk", &names, "evil.example.", kind),
            nobody,
            "{kind}"
        );
    }
    // Nothing was given out for these.
    let (_, first) = asked("desk", &names, "api.example.", RecordType::A);
    assert_eq!(first, ["198.18.0.2"]);
}

#[test]
fn a_refused_name_comes_with_its_reason() {
    let message = message("evil.example.", RecordType::A, DNSClass::IN);
    let reply = answer(
        &message,
        &book(),
        Holder::agent(&"desk".parse().unwrap()),
        &Synthetic::default(),
    );
    assert_eq!(reply.refused.unwrap().as_str(), "evil.example");
    let reply = reply.reply.unwrap();
    let text = String::from_utf8_lossy(&reply).into_owned();
    assert!(
        text.contains("no rule and no tool of agent `desk`"),
        "{text}"
    );
}

#[test]
fn other_classes_and_later_versions_are_refused() {
    let names = Synthetic::default();
    let said = |message: &[u8]| {
        let reply = answer(
            message,
            &book(),
            Holder::agent(&"desk".parse().unwrap()),
            &names,
        )
        .reply
        .unwrap();
        Message::from_vec(&reply).unwrap().response_code
    };
    let chaos = message("crm.example.", RecordType::TXT, DNSClass::CH);
    assert_eq!(said(&chaos), ResponseCode::Refused);
    let mut later = message("crm.example.", RecordType::A, DNSClass::IN);
    let version = later.len() - 5;
    later[version] = 1;
    // 16, which is also the number of something else.
    assert_eq!(said(&later), ResponseCode::from(1, 0));
}

#[test]
fn names_that_are_used_up_are_told_and_those_given_are_kept() {
    let names = Synthetic::default();
    for number in 0..NAMES_PER_SANDBOX_MAX {
        let name = format!("n{number}.zone.example.");
        assert_eq!(
            asked("desk", &names, &name, RecordType::A).0,
            ResponseCode::NoError
        );
    }
    let (code, _) = asked("desk", &names, "more.zone.example.", RecordType::A);
    assert_eq!(code, ResponseCode::ServFail);
    assert_eq!(
        asked("desk", &names, "n0.zone.example.", RecordType::A).1,
        ["198.18.0.1"]
    );
}
