//! The tokens of a GraphQL document. Never skips what it does not know.

use super::Garbled;

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// Punctuation.
    Mark(&'t str),
    /// A name.
    Name(&'t str),
    /// A number or a string; which does not matter.
    Value,
}

/// Cuts a text into tokens.
#[derive(Debug)]
pub(super) struct Lexer<'t> {
    rest: &'t str,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            rest: text.strip_prefix('\u{feff}').unwrap_or(text),
        }
    }

    /// The next token; `None` at the end.
    pub(super) fn token(&mut self) -> Result<Option<Token<'t>>, Garbled> {
        self.skip_ignored();
        let Some(first) = self.rest.bytes().next() else {
            return Ok(None);
        };
        let token = match first {
            b'!' | b'$' | b'&' | b'(' | b')' | b':' | b'=' | b'@' | b'[' | b']' | b'{' | b'|'
            | b'}' => Token::Mark(self.cut(1)),
            b'.' if self.rest.starts_with("...") => Token::Mark(self.cut(3)),
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                let length = self.length_of(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
                Token::Name(self.cut(length))
            }
            b'-' | b'0'..=b'9' => {
                let number = |byte: u8| {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.' | b'_')
                };
                let length = self.length_of(number);
                self.cut(length);
                Token::Value
            }
            b'"' if self.rest.starts_with("\"\"\"") => self.block()?,
            b'"' => self.string()?,
            _ => return Err(Garbled::Malformed),
        };
        Ok(Some(token))
    }

    fn skip_ignored(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r', ',']);
            if !self.rest.starts_with('#') {
                return;
            }
            let line = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
            self.cut(line);
        }
    }

    fn string(&mut self) -> Result<Token<'t>, Garbled> {
        let mut escaped = false;
        for (at, byte) in self.rest.bytes().enumerate().skip(1) {
            match byte {
                b'\n' | b'\r' => break,
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    self.cut(at + 1);
                    return Ok(Token::Value);
                }
                _ => {}
            }
        }
        Err(Garbled::Malformed)
    }

    fn block(&mut self) -> Result<Token<'t>, Garbled> {
        const QUOTES: &str = "\"\"\"";
        let mut at = QUOTES.len();
        loop {
            let found = self.rest[at..].find(QUOTES).ok_or(Garbled::Malformed)?;
            let is_escaped = self.rest[at..at + found].ends_with('\\');
            at += found + QUOTES.len();
            if !is_escaped {
                self.cut(at);
                return Ok(Token::Value);
            }
        }
    }

    fn length_of(&self, belongs: impl Fn(u8) -> bool) -> usize {
        let end = self.rest.bytes().position(|byte| !belongs(byte));
        end.unwrap_or(self.rest.len())
    }

    /// Takes so many bytes off; always at the border of a character.
    fn cut(&mut self, length: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}
