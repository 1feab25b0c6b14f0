//! What the far end of a WebSocket says (RFC 6455 section 5), looked through message by message, however it is fragmented. No
//! frame changes its length, none changes places with another, and what makes no sense ends the WebSocket.

use std::{collections::VecDeque, io};

use bytes::{Buf as _, Bytes};

use super::{echoes::Tally, pass::Pass};

/// The most that frames' heads and small frames may be behind what is held back, in bytes.
const BETWEEN_BYTES_MAX: usize = 64 * 1024;

/// The longest head of a frame without a mask, in bytes.
const HEAD_BYTES_MAX: usize = 10;

/// The head of a control frame, in bytes.
const CONTROL_HEAD_BYTES: usize = 2;

/// The longest payload of a control frame, in bytes.
const CONTROL_BYTES_MAX: u64 = 125;

/// Why bytes are no frames that a client may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoFrame {
    #[error("the upstream's frame is masked")]
    Masked,
    #[error("the upstream's frame has bits or a kind that nobody agreed on")]
    Unknown,
    #[error("the upstream's frame is out of place")]
    OutOfPlace,
    #[error("the upstream's frame is longer than it may be")]
    Long,
    #[error("the upstream's message is in too many pieces")]
    Pieces,
}

/// One direction of a WebSocket.
pub(crate) struct Sieve {
    pass: Pass,
    tally: Tally,
    /// What was found in control frames.
    in_controls: u32,
    counted: u32,
    at: At,
    /// Whether a message began that has not ended.
    in_message: bool,
    /// Bytes of messages that came, and that left.
    came: u64,
    left: u64,
    /// What stands between bytes of messages that are held back: behind how many of them, and what.
    between: VecDeque<(u64, Vec<u8>)>,
    between_bytes: usize,
}

/// Where in a frame.
enum At {
    Head(Vec<u8>),
    /// So many bytes of a message's frame are to come; whether the message ends with them.
    Data(u64, bool),
    /// This much of a control frame is there, with its head; so many bytes are to come.
    Control(Vec<u8>, u64),
}

impl Sieve {
    pub(super) fn new(pass: Pass, tally: Tally) -> Self {
        Self {
            pass,
            tally,
            in_controls: 0,
            counted: 0,
            at: At::Head(Vec::new()),
            in_message: false,
            came: 0,
            left: 0,
            between: VecDeque::new(),
            between_bytes: 0,
        }
    }

    /// Some more bytes; what may leave now is appended.
    ///
    /// # Errors
    /// They are no frames, or held a credential too often.
    pub(crate) fn push(&mut self, mut data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        while !data.is_empty() {
            self.step(&mut data, out).map_err(io::Error::other)?;
            let hits = self.pass.hits() + self.in_controls;
            let fresh = hits - std::mem::replace(&mut self.counted, hits);
            self.tally.add(fresh).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Goes on to the end of what it is at, or of the bytes.
    fn step(&mut self, data: &mut &[u8], out: &mut Vec<u8>) -> Result<(), NoFrame> {
        match std::mem::replace(&mut self.at, At::Head(Vec::new())) {
            At::Head(mut head) => {
                head.push(data.get_u8());
                self.at = match read(&head)? {
                    None => At::Head(head),
                    Some(frame) => self.begun(&frame, head, out)?,
                };
            }
            At::Data(left, ends) => {
                let (now, left) = take(data, left);
                let is_border = ends && left == 0;
                self.came += now.len() as u64;
                let settled = if is_border { now.len() } else { 0 };
                let passed = self.pass.push(now, settled);
                self.emit(passed, out);
                if left > 0 {
                    self.at = At::Data(left, ends);
                } else if is_border {
                    let rest = self.pass.finish();
                    self.emit(rest, out);
                }
            }
            At::Control(mut frame, left) => {
                let (now, left) = take(data, left);
                frame.extend_from_slice(&now);
                match left {
                    0 => self.control(frame, out)?,
                    left => self.at = At::Control(frame, left),
                }
            }
        }
        Ok(())
    }

    /// A frame's head is there.
    fn begun(&mut self, frame: &Frame, head: Vec<u8>, out: &mut Vec<u8>) -> Result<At, NoFrame> {
        if frame.is_control {
            if frame.length == 0 {
                self.control(head, out)?;
                return Ok(At::Head(Vec::new()));
            }
            return Ok(At::Control(head, frame.length));
        }
        if frame.goes_on != self.in_message {
            return Err(NoFrame::OutOfPlace);
        }
        self.in_message = !frame.ends;
        self.put(head, out)?;
        if frame.length > 0 {
            return Ok(At::Data(frame.length, frame.ends));
        }
        if frame.ends {
            let rest = self.pass.finish();
            self.emit(rest, out);
        }
        Ok(At::Head(Vec::new()))
    }

    /// A control frame is there whole.
    fn control(&mut self, mut frame: Vec<u8>, out: &mut Vec<u8>) -> Result<(), NoFrame> {
        if let Some(payload) = frame.get_mut(CONTROL_HEAD_BYTES..) {
            self.in_controls += self.pass.scanner().mask(payload);
        }
        self.put(frame, out)
    }

    /// Puts bytes behind what came so far.
    fn put(&mut self, bytes: Vec<u8>, out: &mut Vec<u8>) -> Result<(), NoFrame> {
        if self.left == self.came {
            out.extend_from_slice(&bytes);
            return Ok(());
        }
        self.between_bytes += bytes.len();
        if self.between_bytes > BETWEEN_BYTES_MAX {
            return Err(NoFrame::Pieces);
        }
        self.between.push_back((self.came, bytes));
        Ok(())
    }

    /// Sends bytes of messages, with what stands between them.
    fn emit(&mut self, mut passed: Bytes, out: &mut Vec<u8>) {
        let until = self.left + passed.len() as u64;
        while let Some((behind, bytes)) = self.between.pop_front_if(|(behind, _)| *behind <= until)
        {
            // No more than is there.
            let before = passed.split_to((behind - self.left) as usize);
            self.left = behind;
            self.between_bytes -= bytes.len();
            out.extend_from_slice(&before);
            out.extend_from_slice(&bytes);
        }
        out.extend_from_slice(&passed);
        self.left = until;
    }
}

/// What the head of a frame says.
struct Frame {
    ends: bool,
    goes_on: bool,
    is_control: bool,
    length: u64,
}

/// A head, if it is there whole.
fn read(head: &[u8]) -> Result<Option<Frame>, NoFrame> {
    let [first, second, more @ ..] = head else {
        return Ok(None);
    };
    let (kind, is_masked, length) = (first & 0x0f, second & 0x80 != 0, second & 0x7f);
    if first & 0x70 != 0 || !matches!(kind, 0..=2 | 8..=10) {
        return Err(NoFrame::Unknown);
    }
    if is_masked {
        return Err(NoFrame::Masked);
    }
    let length = match (length, more.len()) {
        (126, 0..2) | (127, 0..8) => return Ok(None),
        (126 | 127, _) => more.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        (length, _) => u64::from(length),
    };
    let (ends, is_control) = (first & 0x80 != 0, kind >= 8);
    if is_control && (!ends || length > CONTROL_BYTES_MAX) || length > i64::MAX.cast_unsigned() {
        return Err(NoFrame::Long);
    }
    debug_assert!(head.len() <= HEAD_BYTES_MAX, "a head ends where it should");
    Ok(Some(Frame {
        ends,
        goes_on: kind == 0,
        is_control,
        length,
    }))
}

/// As many of the next bytes as belong here, and how many are missing then.
fn take(data: &mut &[u8], left: u64) -> (Bytes, u64) {
    let length = usize::try_from(left).map_or(data.len(), |left| left.min(data.len()));
    let (now, rest) = data.split_at(length);
    *data = rest;
    (Bytes::copy_from_slice(now), left - length as u64)
}

#[cfg(test)]
mod tests;
