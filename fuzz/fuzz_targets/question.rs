//! Questions for names: any bytes are answered in bounds or not at all, the answer is one and to the same question, and no
//! answer is a question that could be answered again.
#![no_main]

use std::net::{IpAddr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;

#[path = "../../proxy/src/dns/message.rs"]
#[allow(dead_code, unreachable_pub)]
mod message;

use message::{ANSWER_BYTES_MAX, Answer, NoQuestion, Outcome, Question, Reason};

fuzz_target!(|bytes: &[u8]| {
    let answers = [
        Answer::plain(Outcome::BadVersion),
        Answer {
            address: Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            ..Answer::plain(Outcome::Fine)
        },
        Answer {
            why: Some((Reason::Blocked, String::from_utf8_lossy(bytes).into_owned())),
            ..Answer::plain(Outcome::NoName)
        },
    ];
    match Question::read(bytes) {
        Ok(question) => {
            let host = question.host();
            assert!(host.is_none_or(|host| host.as_str().len() <= 253));
            for answer in &answers {
                judge(bytes, &question.reply(answer));
            }
        }
        Err(no_question) => {
            if let Some(reply) = no_question.reply() {
                judge(bytes, &reply);
            }
        }
    }
});

fn judge(asked: &[u8], reply: &[u8]) {
    assert!((12..=ANSWER_BYTES_MAX).contains(&reply.len()));
    assert_eq!(asked[..2], reply[..2], "an answer to something else");
    assert_eq!(Question::read(reply).unwrap_err(), NoQuestion::Noise);
}
