//! What a call cost, read out of an answer while it passes: whole or streamed, cut anywhere. Never holds an event or a body,
//! only the few bytes of a `usage` object, and never fails: what it does not understand it does not count.
//!
//! ```text
//! bytes ─▶ Lines (streams: what stands behind `data:`) ─▶ Finder (the object at `usage`, `response.usage`, `message.usage`) ─▶ Tokens
//! ```

use serde::Serialize;
use serde_json::Value;

/// The longest `usage` object that is read, in bytes.
const USAGE_BYTES_MAX: usize = 16 << 10;

/// The longest key that matters, in bytes.
const KEY_BYTES_MAX: usize = 8;

/// Tokens, as the provider counts them; what it does not say is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// The question, with what came out of or went into a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<u64>,
    /// The answer, with hidden reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<u64>,
    /// Of the question, what was read from a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached: Option<u64>,
    /// Of the question, what was written to a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_written: Option<u64>,
    /// Of the answer, hidden reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
}

impl Tokens {
    /// Reads a `usage` object of any dialect.
    fn read(text: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let count = |keys: [&str; 2]| keys.iter().find_map(|key| value[*key].as_u64());
        let detail =
            |keys: [&str; 2], of: &str| keys.iter().find_map(|key| value[*key][of].as_u64());
        let read = value["cache_read_input_tokens"].as_u64();
        let written = value["cache_creation_input_tokens"].as_u64();
        // Anthropic counts what a cache holds beside the input, the others in it.
        let beside = read.unwrap_or(0).saturating_add(written.unwrap_or(0));
        let input = count(["prompt_tokens", "input_tokens"]);
        let tokens = Self {
            input: input.map(|input| input.saturating_add(beside)),
            output: count(["completion_tokens", "output_tokens"]),
            cached: read.or(detail(
                ["prompt_tokens_details", "input_tokens_details"],
                "cached_tokens",
            )),
            cache_written: written,
            reasoning: detail(
                ["completion_tokens_details", "output_tokens_details"],
                "reasoning_tokens",
            ),
        };
        (tokens != Self::default()).then_some(tokens)
    }

    /// Later counts of one answer hold the earlier ones.
    fn merge(&mut self, later: Self) {
        self.input = self.input.max(later.input);
        self.output = self.output.max(later.output);
        self.cached = self.cached.max(later.cached);
        self.cache_written = self.cache_written.max(later.cache_written);
        self.reasoning = self.reasoning.max(later.reasoning);
    }
}

/// Reads along.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    lines: Option<Lines>,
    finder: Finder,
    tokens: Option<Tokens>,
}

impl Meter {
    /// For an answer that is one JSON text.
    #[must_use]
    pub fn whole() -> Self {
        Self::default()
    }

    /// For an answer of server-sent events.
    #[must_use]
    pub fn stream() -> Self {
        Self {
            lines: Some(Lines::default()),
            ..Self::default()
        }
    }

    /// Reads what passes.
    pub fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let step = match &mut self.lines {
                Some(lines) => lines.step(*byte),
                None => Step::Data(*byte),
            };
            match step {
                Step::Data(byte) => {
                    if let Some(later) = self.finder.step(byte) {
                        self.tokens.get_or_insert_default().merge(later);
                    }
                }
                Step::EndOfEvent => self.finder = Finder::default(),
                Step::Nothing => {}
            }
        }
    }

    /// What was read so far.
    #[must_use]
    pub fn tokens(&self) -> Option<Tokens> {
        self.tokens
    }
}

/// What one byte of a stream is.
enum Step {
    Data(u8),
    EndOfEvent,
    Nothing,
}

/// Where in a line a stream is. Lines end in LF, CRLF or CR.
#[derive(Debug, Clone, Copy, Default)]
struct Lines {
    at: At,
    after_cr: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// This many bytes of `data:` were there, and nothing else.
    Name(usize),
    Data,
    Elsewhere,
}

impl Default for At {
    fn default() -> Self {
        Self::Name(0)
    }
}

impl Lines {
    fn step(&mut self, byte: u8) -> Step {
        const NAME: &[u8] = b"data:";
        let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
        match (self.at, byte) {
            (_, b'\n') if after_cr => Step::Nothing,
            (At::Name(0), b'\n' | b'\r') => Step::EndOfEvent,
            (at, b'\n' | b'\r') => {
                self.at = At::Name(0);
                // Between two lines of data stands a line end, which is white space in JSON.
                if at == At::Data {
                    Step::Data(b'\n')
                } else {
                    Step::Nothing
                }
            }
            (At::Name(matched), byte) => {
                self.at = match NAME.get(matched) {
                    Some(wanted) if *wanted == byte && matched + 1 == NAME.len() => At::Data,
                    Some(wanted) if *wanted == byte => At::Name(matched + 1),
                    // A byte order mark before the first line.
                    _ if matched == 0 && matches!(byte, 0xef | 0xbb | 0xbf) => At::Name(0),
                    _ => At::Elsewhere,
                };
                Step::Nothing
            }
            (At::Data, byte) => Step::Data(byte),
            (At::Elsewhere, _) => Step::Nothing,
        }
    }
}

/// Finds `usage` in a JSON text that passes byte by byte.
#[derive(Debug, Clone, Default)]
struct Finder {
    depth: u32,
    in_text: bool,
    escaped: bool,
    /// The last text, as far as it could be a key that matters.
    word: Vec<u8>,
    /// Whether a value must follow, whose key is `word`.
    after_colon: bool,
    /// Whether the object at depth 2 is one that has a `usage` of its own.
    in_holder: bool,
    /// The object at `usage`, and the depth at which it ends.
    usage: Option<(Vec<u8>, u32)>,
}

impl Finder {
    fn step(&mut self, byte: u8) -> Option<Tokens> {
        if let Some((held, _)) = &mut self.usage {
            if held.len() == USAGE_BYTES_MAX {
                self.usage = None;
            } else {
                held.push(byte);
            }
        }
        if self.in_text {
            self.step_in_text(byte);
            return None;
        }
        match byte {
            b'"' => {
                self.in_text = true;
                self.word.clear();
                self.after_colon = false;
            }
            b':' => self.after_colon = true,
            b'{' | b'[' => self.open(byte),
            b'}' | b']' => return self.close(),
            b' ' | b'\t' | b'\n' | b'\r' => {}
            _ => self.after_colon = false,
        }
        None
    }

    fn step_in_text(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.in_text = false,
            _ => {}
        }
        // One byte more than matters says that the text is another one.
        if self.in_text && self.word.len() <= KEY_BYTES_MAX {
            self.word.push(byte);
        }
    }

    fn open(&mut self, byte: u8) {
        let is_member = byte == b'{' && std::mem::take(&mut self.after_colon);
        self.depth = self.depth.saturating_add(1);
        let is_usage = is_member && self.word == b"usage";
        match self.depth {
            2 => self.in_holder = is_member && matches!(&*self.word, b"response" | b"message"),
            3 if self.in_holder => {}
            _ => return,
        }
        if is_usage && self.usage.is_none() {
            self.usage = Some((vec![byte], self.depth));
        }
    }

    fn close(&mut self) -> Option<Tokens> {
        let ends = matches!(&self.usage, Some((_, depth)) if *depth == self.depth);
        self.depth = self.depth.saturating_sub(1);
        if self.depth < 2 {
            self.in_holder = false;
        }
        if !ends {
            return None;
        }
        let (held, _) = self.usage.take()?;
        Tokens::read(&held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(input: u64, output: u64) -> Tokens {
        Tokens {
            input: Some(input),
            output: Some(output),
            ..Tokens::default()
        }
    }

    fn read(mut meter: Meter, text: &str) -> Option<Tokens> {
        meter.push(text.as_bytes());
        meter.tokens()
    }

    #[test]
    fn every_dialects_words() {
        let cached = Tokens {
            cached: Some(4),
            reasoning: Some(2),
            ..tokens(9, 5)
        };
        for text in [
            r#"{"usage":{"prompt_tokens":9,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}}"#,
            r#"{"id":"usage","x":["usage"],"usage" : {"input_tokens":9,"output_tokens":5,"input_tokens_details":{"cached_tokens":4},"output_tokens_details":{"reasoning_tokens":2}}}"#,
        ] {
            assert_eq!(read(Meter::whole(), text), Some(cached), "{text}");
        }
        let anthropic = r#"{"content":[{"usage":{"input_tokens":99}}],"usage":{"input_tokens":2,"cache_read_input_tokens":4,"cache_creation_input_tokens":3,"output_tokens":5}}"#;
        let wanted = Tokens {
            cached: Some(4),
            cache_written: Some(3),
            ..tokens(9, 5)
        };
        assert_eq!(read(Meter::whole(), anthropic), Some(wanted));
    }

    #[test]
    fn what_only_looks_like_usage_is_none() {
        for text in [
            r#"{"text":"\"usage\":{\"input_tokens\":1}"}"#,
            r#"{"data":{"usage":{"input_tokens":1}}}"#,
            r#"{"response":[{"usage":{"input_tokens":1}}]}"#,
            r#"{"usage":null}"#,
            r#"{"usage":{}}"#,
            r#"{"usage":{"input_tokens":"1"}}"#,
            r#"{"usage":{"input_tokens":1"#,
            r#"["usage",{"input_tokens":1}]"#,
            r#"]]]{"usage":}{"#,
            "",
        ] {
            assert_eq!(read(Meter::whole(), text), None, "{text}");
        }
        let long = format!(
            r#"{{"usage":{{"a":"{}","input_tokens":1}}}}"#,
            "x".repeat(USAGE_BYTES_MAX)
        );
        assert_eq!(read(Meter::whole(), &long), None);
    }

    const STREAM: &str = "\u{feff}event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":\r\ndata: {\"usage\":\
        {\"input_tokens\":25,\"output_tokens\":1}}}\r\n\r\n: ping {\"usage\":{\"input_tokens\":999}}\n\ndata:{\"broken\n\n\
        event: message_delta\rdata:{\"type\":\"message_delta\",\"usage\":{\"output_tokens\":15}}\r\rdata: [DONE]\n\n";

    #[test]
    fn a_stream_is_read_event_by_event() {
        assert_eq!(read(Meter::stream(), STREAM), Some(tokens(25, 15)));
        let responses = "data: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\ndata: {\"response\":{\"output\":[],\
                         \"usage\":{\"input_tokens\":3,\"output_tokens\":4}}}\n\n";
        assert_eq!(read(Meter::stream(), responses), Some(tokens(3, 4)));
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(cuts in prop::collection::vec(0..STREAM.len(), 0..6)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut meter = Meter::stream();
            let mut from = 0;
            for to in cuts.into_iter().chain([STREAM.len()]) {
                meter.push(&STREAM.as_bytes()[from..to]);
                from = to;
            }
            prop_assert_eq!(meter.tokens(), Some(tokens(25, 15)));
        }

        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]{}\":,usage\\\\ ]{0,200}") {
            for mut meter in [Meter::whole(), Meter::stream()] {
                meter.push(&bytes);
                meter.push(text.as_bytes());
                let _ = meter.tokens();
            }
        }
    }
}
