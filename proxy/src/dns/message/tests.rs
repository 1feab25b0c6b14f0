//! Messages as others write and read them, and bytes of all sorts. Never over a socket.

use hickory_resolver::proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, RecordType},
};
use proptest::prelude::*;

use super::*;

fn message(name: &str, kind: RecordType, extended: bool) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if extended {
        message.set_edns(Edns::new());
    }
    message.to_vec().unwrap()
}

fn unfit(bytes: &[u8]) -> Option<Outcome> {
    match Question::read(bytes) {
        Err(NoQuestion::Unfit { outcome, .. }) => Some(outcome),
        _ => None,
    }
}

#[test]
fn a_question_as_clients_write_it() {
    let bytes = message("Api.Example.com.", RecordType::AAAA, true);
    let question = Question::read(&bytes).unwrap();
    assert_eq!(question.host().unwrap().as_str(), "api.example.com");
    assert_eq!((question.kind, question.class), (AAAA, INTERNET));
    assert_eq!(question.extension, Some(0));
    let bytes = message("a.example.", RecordType::A, false);
    assert_eq!(Question::read(&bytes).unwrap().extension, None);
}

#[test]
fn names_that_are_no_hosts() {
    for name in [".", "_dns.example.", "a\\.b.example.", "127.1."] {
        let bytes = message(name, RecordType::A, false);
        assert_eq!(Question::read(&bytes).unwrap().host(), None, "{name}");
    }
}

#[test]
fn an_address_is_written_as_another_reads_it() {
    let bytes = message("Api.Example.com.", RecordType::A, true);
    let answer = Answer {
        address: Some("198.18.0.9".parse().unwrap()),
        ..Answer::plain(Outcome::Fine)
    };
    let reply = Question::read(&bytes).unwrap().reply(&answer);
    let read = Message::from_vec(&reply).unwrap();
    assert_eq!(
        (read.metadata.id, read.metadata.response_code),
        (7, ResponseCode::NoError)
    );
    assert!(read.metadata.recursion_available);
    // As it was asked, letter by letter: clients compare.
    assert_eq!(read.queries[0].name().to_string(), "Api.Example.com.");
    assert_eq!(read.queries[0].query_class(), DNSClass::IN);
    assert_eq!(read.answers[0].name, *read.queries[0].name());
    assert_eq!(
        read.answers[0].data,
        RData::A("198.18.0.9".parse().unwrap())
    );
    assert!(read.edns.is_some());
}

#[test]
fn a_reason_is_told_to_whoever_understands_it_and_fits() {
    let longest = ["a"; 4].map(|letter| letter.repeat(61)).join(".");
    let why = "é".repeat(200);
    for (extended, told) in [(true, true), (false, false)] {
        let bytes = message(&longest, RecordType::TXT, extended);
        let answer = Answer {
            why: Some((Reason::Blocked, why.clone())),
            ..Answer::plain(Outcome::NoName)
        };
        let reply = Question::read(&bytes).unwrap().reply(&answer);
        assert!(reply.len() <= ANSWER_BYTES_MAX, "{}", reply.len());
        let read = Message::from_vec(&reply).unwrap();
        assert_eq!(read.metadata.response_code, ResponseCode::NXDomain);
        let shown = String::from_utf8_lossy(&reply).contains("éé");
        assert_eq!(shown, told);
    }
}

#[test]
fn what_is_no_question_is_told_so_or_nothing() {
    let good = message("a.example.", RecordType::A, false);
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    // An answer, and what is too short to be anything.
    for noise in [&changed(2, 0x80)[..], &good[..11], b""] {
        assert_eq!(Question::read(noise).unwrap_err(), NoQuestion::Noise);
    }
    assert_eq!(unfit(&changed(2, 0x28)), Some(Outcome::NotDone));
    for malformed in [
        &changed(5, 0)[..],
        &changed(5, 2),
        &changed(7, 1),
        &changed(9, 1),
        &changed(12, 64),
        &changed(12, 0xc0),
        &changed(12, 63),
        &good[..good.len() - 1],
        &good[..12],
    ] {
        assert_eq!(unfit(malformed), Some(Outcome::Malformed), "{malformed:?}");
    }
    let reply = Question::read(&changed(5, 0)).unwrap_err().reply().unwrap();
    let read = Message::from_vec(&reply).unwrap();
    assert_eq!(
        (read.metadata.id, read.metadata.response_code),
        (7, ResponseCode::FormErr)
    );
}

#[test]
fn a_name_that_never_ends_is_no_name() {
    let mut bytes = message("a.example.", RecordType::A, false)[..12].to_vec();
    bytes.extend(std::iter::repeat_n([1, b'a'], 200).flatten());
    bytes.extend([0, 0, 1, 0, 1]);
    assert_eq!(unfit(&bytes), Some(Outcome::Malformed));
}

proptest! {
    #[test]
    fn any_bytes_are_answered_in_bounds_or_not_at_all(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let reply = match Question::read(&bytes) {
            Ok(question) => {
                let _host = question.host();
                Some(question.reply(&Answer::plain(Outcome::NoName)))
            }
            Err(no_question) => no_question.reply(),
        };
        if let Some(reply) = reply {
            prop_assert!(reply.len() <= ANSWER_BYTES_MAX);
            prop_assert!(reply[2] & 0x80 != 0, "an answer says that it is one");
            prop_assert_eq!(&reply[..2], &bytes[..2]);
        }
    }

    #[test]
    fn a_name_comes_through_as_it_is(labels in prop::collection::vec("[a-z]([a-z0-9-]{0,20}[a-z0-9])?", 1..6)) {
        let name = labels.join(".");
        let bytes = message(&name, RecordType::A, true);
        let question = Question::read(&bytes).unwrap();
        let host = question.host().unwrap();
        prop_assert_eq!(host.as_str(), name);
    }
}
