//! Server-sent events: one encoder, one incremental decoder. Never buffers more than one bounded event.

/// The data that ends a stream of chunks.
pub const DONE: &str = "[DONE]";

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// Its name, if it has one.
    pub event: Option<String>,
    /// Its data, lines joined by `\n`.
    pub data: String,
}

/// The event is longer than the decoder may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {limit_bytes} bytes")]
pub struct EventTooLong {
    limit_bytes: usize,
}

/// Writes data as one event: `data: …` for each line, and an empty line.
#[must_use]
pub fn encode(data: &str) -> String {
    let mut text = String::with_capacity(data.len() + 8);
    for line in data.split('\n') {
        for piece in line.split('\r') {
            text.push_str("data: ");
            text.push_str(piece);
            text.push('\n');
        }
    }
    text.push('\n');
    text
}

/// Turns bytes as they come into events. Lines end in LF, CRLF or CR; comments and fields it does not know are skipped.
#[derive(Debug)]
pub struct Decoder {
    limit_bytes: usize,
    line: Vec<u8>,
    after_cr: bool,
    at_start: bool,
    event: SseEvent,
    has_data: bool,
}

/// Some programs begin a text with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Decoder {
    /// A decoder that refuses events beyond the limit.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            line: Vec::new(),
            after_cr: false,
            at_start: true,
            event: SseEvent::default(),
            has_data: false,
        }
    }

    /// Takes in bytes, cut anywhere, and gives the events that are whole now. An event that is not whole when the stream ends is
    /// none.
    ///
    /// # Errors
    /// [`EventTooLong`]; the decoder is of no use afterwards.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<SseEvent>, EventTooLong> {
        let mut whole = Vec::new();
        if let Some((first, rest)) = bytes.split_first()
            && std::mem::take(&mut self.after_cr)
            && *first == b'\n'
        {
            bytes = rest;
        }
        while let Some(end) = bytes.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            self.hold(&bytes[..end])?;
            whole.extend(self.end_of_line());
            let is_crlf = bytes[end..].starts_with(b"\r\n");
            self.after_cr = bytes[end] == b'\r' && end + 1 == bytes.len();
            bytes = &bytes[end + 1 + usize::from(is_crlf)..];
        }
        self.hold(bytes)?;
        Ok(whole)
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), EventTooLong> {
        if self.line.len() + self.event.data.len() + bytes.len() > self.limit_bytes {
            return Err(EventTooLong {
                limit_bytes: self.limit_bytes,
            });
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// The line is whole; an empty one ends the event.
    fn end_of_line(&mut self) -> Option<SseEvent> {
        let line = std::mem::take(&mut self.line);
        let mut bytes = line.as_slice();
        if std::mem::take(&mut self.at_start) {
            bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        }
        if bytes.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let text = String::from_utf8_lossy(bytes);
        let (field, value) = text.split_once(':').unwrap_or((&text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(value);
            }
            "event" => self.event.event = Some(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Vec<SseEvent> {
        let mut decoder = Decoder::new(1 << 16);
        pieces
            .iter()
            .flat_map(|piece| decoder.push(piece).unwrap())
            .collect()
    }

    fn datas(pieces: &[&[u8]]) -> Vec<String> {
        decode(pieces).into_iter().map(|event| event.data).collect()
    }

    #[test]
    fn a_line_feed_belongs_to_one_carriage_return_however_it_is_cut() {
        let event = SseEvent {
            event: None,
            data: "a".to_owned(),
        };
        assert_eq!(decode(&[b"data: a\r", b"\n", b"\n"]), [event]);
    }

    #[test]
    fn the_standards_own_examples() {
        assert_eq!(
            datas(&[b"data: a\n\ndata: b\r\n\r\ndata: c\r\r"]),
            ["a", "b", "c"]
        );
        assert_eq!(
            datas(&[b": ping\n\ndata:x\ndata:  y\nid: 7\nretry: 1\n\n"]),
            ["x\n y"]
        );
        assert_eq!(datas(&[b"data\n\ndata\ndata\n\nevent: z\n\n"]), ["", "\n"]);
        assert_eq!(
            datas(&[b"\xef\xbb\xbfdata: first\n\n", b"data: cut"]),
            ["first"]
        );
        let named = decode(&[b"event: error\ndata: x\n\n"]);
        assert_eq!(named[0].event.as_deref(), Some("error"));
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut decoder = Decoder::new(1_000);
        let pushed = (0..100).try_for_each(|_| decoder.push(b"data: 0123456789\n").map(|_| ()));
        assert!(pushed.is_err());
        let mut decoder = Decoder::new(1_000);
        assert!(
            (0..100)
                .try_for_each(|_| decoder.push(b"0123456789ab").map(|_| ()))
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_is_cut(text in "(?s).{0,60}", cut in 0_usize..200) {
            let wire = format!("{}{}", encode(&text), encode(DONE));
            let (one, two) = wire.as_bytes().split_at(cut.min(wire.len()));
            // A lone CR ends a line for a reader, so that it comes back as LF.
            prop_assert_eq!(datas(&[one, two]), [text.replace('\r', "\n"), DONE.to_owned()]);
        }

        #[test]
        fn cuts_change_nothing(bytes in prop::collection::vec(prop::sample::select(b"data: x\r\n:e".to_vec()), 0..80)) {
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(decode(&single), decode(&[&bytes]));
        }
    }
}
