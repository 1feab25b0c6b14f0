//! DNS messages as far as the gate reads and writes them (RFC 1035, RFC 6891, RFC 8914): one question in, one short answer
//! out. Never believes a count, never follows a pointer, never panics whatever the bytes are.

use std::net::IpAddr;

use postern_policy::HostName;

/// The largest answer, in bytes: what every client takes in one datagram, so none is ever cut off.
pub(super) const ANSWER_BYTES_MAX: usize = 512;

/// The longest reason in an answer, in bytes: with the longest question it fits the answer.
const WHY_BYTES_MAX: usize = 160;

/// The head of a message, in bytes.
const HEAD: usize = 12;

/// The longest name with its lengths, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// The longest label, in bytes; what is longer is a pointer or nothing at all.
const LABEL_BYTES_MAX: u8 = 63;

/// How long a client may remember an answer, in seconds.
const TTL: u32 = 60;

/// Flags: a response; recursion wanted; recursion to be had.
const RESPONSE: u16 = 0x8000;
const OPERATION: u16 = 0x7800;
const WANTED: u16 = 0x0100;
const TO_BE_HAD: u16 = 0x0080;

/// The kind of the record that extends a message.
const OPT: u16 = 41;

/// The option that explains an answer.
const EXPLANATION: u16 = 15;

/// Kinds of records that are answered with an address.
pub(super) const A: u16 = 1;
pub(super) const AAAA: u16 = 28;

/// The Internet, the only class there is.
pub(super) const INTERNET: u16 = 1;

/// What an answer says in one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is such a name.
    Fine = 0,
    /// The question is not understood.
    Malformed = 1,
    /// No answer can be given now.
    Failed = 2,
    /// There is no such name.
    NoName = 3,
    /// Something else than a question was asked for.
    NotDone = 4,
    /// The question is not for us.
    Refused = 5,
    /// An extension of a later version; the lower four bits stand in the head.
    BadVersion = 16,
}

/// Why an answer is what it is (RFC 8914).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Something else.
    Other = 0,
    /// Whoever runs the place does not want it.
    Blocked = 15,
}

/// An answer before it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    pub(super) address: Option<IpAddr>,
    pub(super) why: Option<(Reason, String)>,
}

impl Answer {
    pub(super) fn plain(outcome: Outcome) -> Self {
        Self {
            outcome,
            address: None,
            why: None,
        }
    }
}

/// What a message was that is no question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoQuestion {
    /// Too short, or an answer itself: whoever replied to that could be made to reply for ever.
    Noise,
    /// It can be told so.
    Unfit { head: [u8; 4], outcome: Outcome },
}

impl NoQuestion {
    /// What is replied, if anything.
    pub(super) fn reply(self) -> Option<Vec<u8>> {
        let Self::Unfit { head, outcome } = self else {
            return None;
        };
        Some(begin(head, outcome, [0; 4]))
    }
}

/// One question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    /// Number and flags.
    head: [u8; 4],
    /// Name, kind and class as they came.
    wire: &'a [u8],
    /// The name with its lengths, without the empty label at its end.
    name: &'a [u8],
    pub(super) kind: u16,
    pub(super) class: u16,
    /// The version of the extension, if the client speaks it.
    pub(super) extension: Option<u8>,
}

impl<'a> Question<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, NoQuestion> {
        let (head, rest) = message.split_at_checked(HEAD).ok_or(NoQuestion::Noise)?;
        let flags = number(head, 2).ok_or(NoQuestion::Noise)?;
        let head: [u8; 4] = head.first_chunk().copied().ok_or(NoQuestion::Noise)?;
        if flags & RESPONSE != 0 {
            return Err(NoQuestion::Noise);
        }
        let unfit = |outcome| NoQuestion::Unfit { head, outcome };
        if flags & OPERATION != 0 {
            return Err(unfit(Outcome::NotDone));
        }
        let counts = [4, 6, 8].map(|at| number(message, at));
        if counts != [Some(1), Some(0), Some(0)] {
            return Err(unfit(Outcome::Malformed));
        }
        Self::body(head, rest, number(message, 10)).ok_or(unfit(Outcome::Malformed))
    }

    fn body(head: [u8; 4], rest: &'a [u8], more: Option<u16>) -> Option<Self> {
        let length = name_length(rest)?;
        let (wire, after) = rest.split_at_checked(length + 4)?;
        Some(Self {
            head,
            wire,
            name: wire.get(..length.checked_sub(1)?)?,
            kind: number(wire, length)?,
            class: number(wire, length + 2)?,
            extension: more
                .filter(|count| *count > 0)
                .and_then(|_| extension(after)),
        })
    }

    /// The name, where it is one of a host.
    pub(super) fn host(&self) -> Option<HostName> {
        let mut text = String::with_capacity(self.name.len());
        let mut rest = self.name;
        while let Some((length, after)) = rest.split_first() {
            let (label, after) = after.split_at_checked(usize::from(*length))?;
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
            if !label.iter().all(plain) {
                return None;
            }
            if !text.is_empty() {
                text.push('.');
            }
            text.extend(label.iter().copied().map(char::from));
            rest = after;
        }
        text.parse().ok()
    }

    /// The whole answer, at most [`ANSWER_BYTES_MAX`].
    pub(super) fn reply(&self, answer: &Answer) -> Vec<u8> {
        let (answers, extensions) = (answer.address.is_some(), self.extension.is_some());
        let counts = [1, u16::from(answers), 0, u16::from(extensions)];
        let mut reply = begin(self.head, answer.outcome, counts);
        reply.extend_from_slice(self.wire);
        if let Some(address) = answer.address {
            self.put_address(&mut reply, address);
        }
        if extensions {
            put_extension(&mut reply, answer);
        }
        reply
    }

    /// One record about the name in the question.
    fn put_address(&self, reply: &mut Vec<u8>, address: IpAddr) {
        put(reply, [0xc0, 12]);
        put(reply, self.kind.to_be_bytes());
        put(reply, INTERNET.to_be_bytes());
        put(reply, TTL.to_be_bytes());
        match address {
            IpAddr::V4(four) => {
                put(reply, 4u16.to_be_bytes());
                put(reply, four.octets());
            }
            IpAddr::V6(six) => {
                put(reply, 16u16.to_be_bytes());
                put(reply, six.octets());
            }
        }
    }
}

/// The head of an answer: number, flags, and how many of each kind follow.
fn begin(head: [u8; 4], outcome: Outcome, counts: [u16; 4]) -> Vec<u8> {
    let [high, low, flags, _] = head;
    let wanted = u16::from_be_bytes([flags, 0]) & WANTED;
    let flags = RESPONSE | wanted | TO_BE_HAD | (outcome as u16 & 0xf);
    let mut reply = Vec::with_capacity(ANSWER_BYTES_MAX);
    put(&mut reply, [high, low]);
    put(&mut reply, flags.to_be_bytes());
    for count in counts {
        put(&mut reply, count.to_be_bytes());
    }
    reply
}

fn put_extension(reply: &mut Vec<u8>, answer: &Answer) {
    put(reply, [0]);
    put(reply, OPT.to_be_bytes());
    // The largest question that is taken, here where other records have their class.
    put(reply, 512u16.to_be_bytes());
    let [_, upper] = (answer.outcome as u16 >> 4).to_be_bytes();
    put(reply, [upper, 0, 0, 0]);
    let Some((reason, why)) = &answer.why else {
        return put(reply, [0; 2]);
    };
    let mut ends = (0..=why.len().min(WHY_BYTES_MAX)).rev();
    let why = ends.find_map(|end| why.get(..end)).unwrap_or_default();
    let length = u16::try_from(why.len()).unwrap_or_default() + 2;
    put(reply, (length + 4).to_be_bytes());
    put(reply, EXPLANATION.to_be_bytes());
    put(reply, length.to_be_bytes());
    put(reply, (*reason as u16).to_be_bytes());
    reply.extend_from_slice(why.as_bytes());
}

fn put<const N: usize>(reply: &mut Vec<u8>, bytes: [u8; N]) {
    reply.extend_from_slice(&bytes);
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// How long a name is, the empty label at its end included.
fn name_length(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    loop {
        let label = *bytes.get(length)?;
        length += 1 + usize::from(label);
        if label > LABEL_BYTES_MAX || length > NAME_BYTES_MAX {
            return None;
        }
        if label == 0 {
            return Some(length);
        }
    }
}

/// The version of the extension, where the record behind the question is one.
fn extension(record: &[u8]) -> Option<u8> {
    let is_one = record.first() == Some(&0) && number(record, 1) == Some(OPT);
    let whole = record.get(9..).and_then(|_| number(record, 9)).is_some();
    if is_one && whole {
        record.get(6).copied()
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
