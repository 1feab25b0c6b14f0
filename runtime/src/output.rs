//! What programs in a sandbox print, into the log: bounded by line, marked with whose it is. Never interpreted, and never
//! able to forge a line of the log: control characters are escaped.

use std::{io, os::fd::OwnedFd, time::Duration};

use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::unix::pipe,
    time::MissedTickBehavior,
};

/// The longest piece of a line that is logged at once, in bytes; the rest follows as a line of its own.
const LINE_BYTES_MAX: u64 = 4096;

/// What one agent may have in the log at once, in bytes, with what stands around its lines, and what is added to that.
const LOGGED_BYTES_MAX: usize = 1 << 20;
const REFILL_BYTES: usize = 64 << 10;
const REFILL_EVERY: Duration = Duration::from_secs(1);

/// What the log puts around a line, in bytes or so.
const AROUND_BYTES: usize = 128;

/// Lines that are passed over before more are waited for, and how long.
const PASSED_AT_ONCE_MAX: u64 = 256;
const PAUSE: Duration = Duration::from_millis(5);

/// A pipe whose writing end goes into a sandbox while its lines go to the log.
///
/// # Errors
/// When no pipe can be had.
pub(crate) fn to_log(agent: &str, stream: &'static str) -> io::Result<OwnedFd> {
    let (reader, writer) = io::pipe()?;
    let reader = pipe::Receiver::from_owned_fd(reader.into())?;
    let agent = agent.to_owned();
    tokio::spawn(log(BufReader::new(reader), agent, stream));
    Ok(writer.into())
}

async fn log(mut reader: BufReader<pipe::Receiver>, agent: String, stream: &'static str) {
    let mut allowance = Allowance::default();
    let mut tick = tokio::time::interval(REFILL_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Ok(Some(line)) = next_line(&mut reader).await {
        if tick.tick().now_or_never().is_some() {
            allowance.refill();
        }
        if !allowance.takes(&line) {
            if allowance.passed_over.is_multiple_of(PASSED_AT_ONCE_MAX) {
                // The program waits with it: a flood costs no more than a trickle.
                tokio::time::sleep(PAUSE).await;
            }
            continue;
        }
        let lines = std::mem::take(&mut allowance.passed_over);
        if lines > 0 {
            tracing::warn!(target: "agent", agent, stream, lines, "more was printed than is logged");
        }
        tracing::info!(target: "agent", agent, stream, "{line}");
    }
}

/// What an agent may have in the log.
#[derive(Debug)]
struct Allowance {
    bytes: usize,
    /// Lines that were not logged since the last that was.
    passed_over: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            bytes: LOGGED_BYTES_MAX,
            passed_over: 0,
        }
    }
}

impl Allowance {
    fn refill(&mut self) {
        self.bytes = (self.bytes + REFILL_BYTES).min(LOGGED_BYTES_MAX);
    }

    /// Whether there is room for a line, which takes it.
    fn takes(&mut self, line: &str) -> bool {
        let left = self.bytes.checked_sub(line.len() + AROUND_BYTES);
        self.bytes = left.unwrap_or(self.bytes);
        self.passed_over += u64::from(left.is_none());
        left.is_some()
    }
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
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
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

    #[test]
    fn what_turns_or_breaks_a_line_is_shown_as_what_it_is() {
        for odd in [
            '\u{61c}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{2066}', '\u{9b}',
        ] {
            let shown = printable(&format!("a{odd}b"));
            assert_eq!(shown, format!("a{}b", odd.escape_unicode()));
        }
    }

    #[test]
    fn a_flood_is_logged_up_to_its_allowance_and_counted_beyond() {
        let mut allowance = Allowance::default();
        let logged = (0..1_000_000).filter(|_| allowance.takes("")).count();
        assert_eq!(logged, LOGGED_BYTES_MAX / AROUND_BYTES);
        assert_eq!(allowance.passed_over, 1_000_000 - logged as u64);
        allowance.refill();
        let more = (0..1_000_000).filter(|_| allowance.takes("")).count();
        assert_eq!(more, REFILL_BYTES / AROUND_BYTES);
    }
}
