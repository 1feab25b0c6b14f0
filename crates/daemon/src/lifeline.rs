//! Standard input as a lifeline: a supervisor that is no systemd writes one line and keeps the pipe open; when it ends,
//! however it ends, the daemon reads the end of the pipe and goes too. Never reads more than that one line.

use std::{
    io::{self, Read},
    os::fd::AsFd,
};

use postern_contract::Secret;
use serde::Deserialize;
use tokio::{io::AsyncReadExt, net::unix::pipe};

/// The longest first line, in bytes.
const LINE_BYTES_MAX: usize = 4096;

/// What the supervisor says at the start.
#[derive(Debug, Default)]
pub struct Boot {
    /// What the daemons show each other on the link.
    pub link_token: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    link_token: Option<String>,
}

/// Reads the first line of standard input. What a supervisor might say after it is of no interest, only its end.
///
/// # Errors
/// When the pipe ends first, or the line is no boot line.
pub fn read_boot() -> io::Result<Boot> {
    parse(&read_line(&mut io::stdin().lock())?)
}

fn read_line(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        input.read_exact(&mut byte)?;
        match byte[0] {
            b'\n' => return Ok(line),
            _ if line.len() == LINE_BYTES_MAX => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the boot line is too long",
                ));
            }
            other => line.push(other),
        }
    }
}

fn parse(line: &[u8]) -> io::Result<Boot> {
    let written: Written = serde_json::from_slice(line).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the boot line is not what it should be",
        )
    })?;
    Ok(Boot {
        link_token: written
            .link_token
            .map(|token| Secret::new(token.into_bytes())),
    })
}

/// Standard input after its first line; only its end means anything.
pub(crate) struct Lifeline(pipe::Receiver);

impl Lifeline {
    /// Watches standard input, which must be a pipe.
    pub(crate) fn hold() -> io::Result<Self> {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self(pipe::Receiver::from_owned_fd(input)?))
    }

    /// Returns when the pipe ends.
    pub(crate) async fn cut(mut self) {
        let mut buffer = [0; 64];
        while !matches!(self.0.read(&mut buffer).await, Ok(0) | Err(_)) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_read_and_no_more() {
        let mut input: &[u8] = b"{\"link_token\":\"t\"}\nrest";
        let boot = parse(&read_line(&mut input).unwrap()).unwrap();
        assert!(boot.link_token.unwrap().is(b"t"));
        assert_eq!(input, b"rest");
    }

    #[test]
    fn a_cut_or_endless_line_is_an_error() {
        assert!(read_line(&mut &b"{\"link_token\""[..]).is_err());
        assert!(read_line(&mut &[b'x'; LINE_BYTES_MAX + 2][..]).is_err());
    }

    #[test]
    fn the_token_stands_in_no_error() {
        let error = parse(b"{\"link_token\":\"s3cret\",\"x\":1}").unwrap_err();
        assert!(!error.to_string().contains("s3cret"));
    }
}
