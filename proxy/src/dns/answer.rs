//! What a question is answered with. Pure but for the addresses that it gives out; never asks anybody else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use postern_policy::{Holder, Host, HostName, Rulebook};

use super::{
    message::{A, AAAA, Answer, INTERNET, Outcome, Question, Reason},
    synthetic::Synthetic,
};

/// What comes of a message.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// The answer, whole; none to what is no question at all.
    pub(super) reply: Option<Vec<u8>>,
    /// The host that does not exist for the agent, where that is the answer.
    pub(super) refused: Option<HostName>,
}

/// Answers a message.
pub(super) fn answer(
    message: &[u8],
    book: &Rulebook,
    holder: Holder<'_>,
    names: &Synthetic,
) -> Answered {
    match Question::read(message) {
        Ok(question) => {
            let answer = judged(&question, book, holder, names);
            let is_refused = answer.outcome == Outcome::NoName;
            Answered {
                reply: Some(question.reply(&answer)),
                refused: question.host().filter(|_| is_refused),
            }
        }
        Err(no_question) => Answered {
            reply: no_question.reply(),
            refused: None,
        },
    }
}

fn judged(
    question: &Question<'_>,
    book: &Rulebook,
    holder: Holder<'_>,
    names: &Synthetic,
) -> Answer {
    if question.extension.is_some_and(|version| version != 0) {
        return Answer::plain(Outcome::BadVersion);
    }
    if question.class != INTERNET {
        return Answer::plain(Outcome::Refused);
    }
    let Some(name) = question.host() else {
        return nobody("this is no name of a host");
    };
    if book.could_open(holder, &Host::Name(name.clone())) {
        return address(question.kind, names.address_of(&name));
    }
    if is_this_machine(&name) {
        return address(
            question.kind,
            Some((Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)),
        );
    }
    nobody(&format!(
        "no rule and no tool of {holder} is about this host"
    ))
}

/// Whatever else is asked about a name that exists has no answer: clients fall back to its addresses.
fn address(kind: u16, given: Option<(Ipv4Addr, Ipv6Addr)>) -> Answer {
    let Some((four, six)) = given else {
        let why = "this sandbox has asked for all the names that it may".to_owned();
        return Answer {
            why: Some((Reason::Other, why)),
            ..Answer::plain(Outcome::Failed)
        };
    };
    Answer {
        address: match kind {
            A => Some(IpAddr::V4(four)),
            AAAA => Some(IpAddr::V6(six)),
            _ => None,
        },
        ..Answer::plain(Outcome::Fine)
    }
}

fn nobody(why: &str) -> Answer {
    Answer {
        why: Some((Reason::Blocked, why.to_owned())),
        ..Answer::plain(Outcome::NoName)
    }
}

/// `localhost` and what stands beneath it is the sandbox itself (RFC 6761).
fn is_this_machine(name: &HostName) -> bool {
    let name = name.as_str();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
