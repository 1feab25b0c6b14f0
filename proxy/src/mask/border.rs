//! Where an answer may be cut without cutting a form: behind a line of an answer that is made of lines, behind a message of
//! gRPC. It follows from what the answer says it is, and from line breaks and lengths alone. Never looks at anything else.

use http::{HeaderMap, header};

/// Answers in which every line stands for itself. No form holds a line break.
const OF_LINES: [&str; 8] = [
    "text/event-stream",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/jsonlines",
    "application/x-jsonlines",
    "application/json-seq",
    "application/stream+json",
];

/// One byte of flags and four of length stand before a message of gRPC. No form holds a zero byte or a one.
const HEAD_BYTES: usize = 5;

/// Where the last border is.
#[derive(Debug)]
pub(super) enum Border {
    /// There is none but the end.
    Nowhere,
    /// Behind every line.
    Lines,
    /// Behind every message.
    Messages(Message),
}

/// What of a message came so far.
#[derive(Debug, Default)]
pub(super) struct Message {
    head: [u8; HEAD_BYTES],
    has: usize,
    left: usize,
}

impl Border {
    /// The borders of an answer with this head.
    pub(super) fn of(fields: &HeaderMap) -> Self {
        let kind = fields.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        if OF_LINES.contains(&&*kind) {
            return Self::Lines;
        }
        match kind == "application/grpc" || kind.starts_with("application/grpc+") {
            true => Self::Messages(Message::default()),
            false => Self::Nowhere,
        }
    }

    /// How many of the next bytes are before the last border in them.
    pub(super) fn last(&mut self, data: &[u8]) -> usize {
        match self {
            Self::Nowhere => 0,
            Self::Lines => {
                let last = data.iter().rposition(|byte| matches!(byte, b'\n' | b'\r'));
                last.map_or(0, |at| at + 1)
            }
            Self::Messages(message) => message.last(data),
        }
    }
}

impl Message {
    fn last(&mut self, data: &[u8]) -> usize {
        let (mut at, mut last) = (0, 0);
        while at < data.len() {
            if self.has < HEAD_BYTES {
                self.head[self.has] = data[at];
                self.has += 1;
                at += 1;
                let [_, length @ ..] = self.head;
                // Four bytes fit.
                self.left = u32::from_be_bytes(length) as usize;
            } else {
                let more = self.left.min(data.len() - at);
                self.left -= more;
                at += more;
            }
            if self.has == HEAD_BYTES && self.left == 0 {
                (self.has, last) = (0, at);
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &'static str) -> Border {
        let kind = http::HeaderValue::from_static(kind);
        Border::of(&HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]))
    }

    #[test]
    fn lines_end_at_line_breaks_and_other_answers_nowhere() {
        let mut lines = of("Text/Event-Stream; charset=utf-8");
        assert_eq!(lines.last(b"data: 1\n\ndata"), 9);
        assert_eq!(lines.last(b": 2"), 0);
        assert_eq!(lines.last(b"\r"), 1);
        for other in ["text/html", "application/json", "application/grpc-web", ""] {
            assert_eq!(of(other).last(b"a\n\n"), 0, "{other}");
        }
        assert_eq!(Border::of(&HeaderMap::new()).last(b"a\n"), 0);
    }

    #[test]
    fn messages_end_where_their_lengths_say_in_whatever_pieces_they_come() {
        let text = b"\0\0\0\0\x03abc\0\0\0\0\0\x01\0\0\0\x02de\0\0";
        assert_eq!(of("application/grpc+proto").last(text), 20);
        for cut in 0..text.len() {
            let mut border = of("application/grpc");
            let first = border.last(&text[..cut]);
            let ends = [20, 13, 8].into_iter().find(|end| *end <= cut);
            assert_eq!(first, ends.unwrap_or(0), "{cut}");
            let rest = border.last(&text[cut..]);
            assert_eq!(rest, 20_usize.saturating_sub(cut), "{cut}");
        }
    }
}
