//! What programs in a sandbox print, into the log: bounded by line, marked with whose it is. Never interpreted, and never
//! able to forge a line of the log: control characters are escaped.

use std::{io, os::fd::OwnedFd};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::unix::pipe,
};

/// The longest piece of a line that is logged at once, in bytes; the rest follows as a line of its own.
const LINE_BYTES_MAX: u64 = 4096;

/// A pipe whose writing end goes into a sandbox while its lines go to the log.
///
/// # Errors
/// When no pipe can be had.
pub(crate) fn to_log(agent: &str, stream: &'static str) -> io::Result<OwnedFd> {
    let (reader, writer) = io::pipe()?;
    let reader = pipe::Receiver::from_owned_fd(reader.into())?;
    let agent = agent.to_owned();
    tokio::spawn(async move {
        let mut reader = BufReader::new(reader);
        while let Ok(Some(line)) = next_line(&mut reader).await {
            tracing::info!(target: "agent", agent, stream, "{line}");
        }
    });
    Ok(writer.into())
}

/// The next line, or the next piece of a long one, made harmless.
///
/// # Errors
/// As the stream says.
pub(crate) async fn next_line<Reader>(reader: &mut Reader) -> io::Result<Option<String>>
where
    Reader: AsyncBufReadExt + Unpin,
{
    let mut line = Vec::new();
    if reader
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)
        .await?
        == 0
    {
        return Ok(None);
    }
    Ok(Some(printable(&String::from_utf8_lossy(&line))))
}

/// A text without anything that a terminal or a log reader would act on.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        let acts = c.is_control() && c != '\t'
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if acts {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_cut_and_cannot_act_on_a_terminal() {
        let long = "x".repeat(5000);
        let text = format!("a\u{1b}[31mb\u{202e}\n{long}\nlast");
        let mut reader = BufReader::new(text.as_bytes());
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut reader).await.unwrap() {
            lines.push(line);
        }
        assert_eq!(lines[0], "a\\u{1b}[31mb\\u{202e}");
        assert_eq!(lines[1].len() + lines[2].len(), 5000);
        assert_eq!(lines[3], "last");
    }
}
