//! Bytes that pass in pieces while they are looked through. What is held back is always the same: all but one byte of the
//! longest form, whatever the bytes are, or nothing. Never lets a form through, in whatever pieces it comes, where it holds back.
//!
//! ```text
//! piece ─▶ behind what is held ─▶ looked through ─▶ all but the window leaves, masked
//!                                                   a border: all before it leaves, for no form reaches across one
//! ```

use bytes::{Buf as _, Bytes, BytesMut};

use super::scanner::{Found, Scanners, cover, separate};

/// Whether anything is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// All but one byte of the longest form.
    Window,
    /// Nothing: of a form that comes in pieces only what comes with its end or after it is masked.
    Nothing,
}

/// One stream of bytes.
pub struct Pass {
    scanner: Scanners,
    hold: Hold,
    /// What was not sent yet; where nothing is held back, what was sent last.
    buffer: BytesMut,
    /// What of the buffer was sent.
    sent: usize,
    marks: Vec<Found>,
    /// How far into the buffer what was found so far reaches.
    covered: usize,
    hits: u32,
}

impl Pass {
    /// Nothing yet.
    #[must_use]
    pub fn new(scanner: Scanners, hold: Hold) -> Self {
        Self {
            scanner,
            hold,
            buffer: BytesMut::new(),
            sent: 0,
            marks: Vec::new(),
            covered: 0,
            hits: 0,
        }
    }

    /// What is looked for.
    pub(super) fn scanner(&self) -> &Scanners {
        &self.scanner
    }

    /// How often something was masked so far.
    #[must_use]
    pub fn hits(&self) -> u32 {
        self.hits
    }

    /// What is held back now, in bytes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// The most that is held back, in bytes.
    #[must_use]
    pub fn window(&self) -> usize {
        match self.hold {
            Hold::Window => self.scanner.longest() - 1,
            Hold::Nothing => 0,
        }
    }

    /// Some more bytes, and what may leave now. No form begins in the first `settled` of them, or in what came before, and
    /// ends behind them.
    pub fn push(&mut self, data: Bytes, settled: usize) -> Bytes {
        if self.buffer.is_empty() && settled == data.len() {
            return self.whole(data);
        }
        let before = self.buffer.len();
        self.buffer.extend_from_slice(&data);
        let found = self.look(before);
        if self.hold == Hold::Nothing {
            let out = if found { self.masked(before) } else { data };
            self.remember();
            return out;
        }
        let settled = if settled > 0 { before + settled } else { 0 };
        let ready = self.buffer.len().saturating_sub(self.window());
        self.release(ready.max(settled))
    }

    /// What is left at the end, or at a border.
    pub fn finish(&mut self) -> Bytes {
        match self.hold {
            Hold::Window => self.release(self.buffer.len()),
            Hold::Nothing => {
                self.forget();
                Bytes::new()
            }
        }
    }

    /// Bytes that no form leads into or out of.
    fn whole(&mut self, data: Bytes) -> Bytes {
        let mut all = Vec::new();
        self.scanner.find(&data, |found| all.push(found));
        if all.is_empty() {
            return data;
        }
        self.hits += separate(&mut all);
        let mut masked = BytesMut::from(&*data);
        cover(&mut masked, 0, &all);
        masked.freeze()
    }

    /// Looks for what ends behind the first bytes, and says whether there is any.
    fn look(&mut self, before: usize) -> bool {
        let mut fresh = Vec::new();
        self.scanner.find(&self.buffer, |found| {
            if found.place.end > before {
                fresh.push(found);
            }
        });
        separate(&mut fresh);
        for found in &fresh {
            if found.place.start >= self.covered {
                self.hits += 1;
            }
            self.covered = self.covered.max(found.place.end);
        }
        self.marks.append(&mut fresh);
        !self.marks.is_empty()
    }

    /// Lets the first so many bytes go.
    fn release(&mut self, ready: usize) -> Bytes {
        let mut out = self.buffer.split_to(ready);
        cover(&mut out, 0, &self.marks);
        self.marks.retain(|found| found.place.end > ready);
        for found in &mut self.marks {
            found.place = found.place.start.saturating_sub(ready)..found.place.end - ready;
        }
        self.covered = self.covered.saturating_sub(ready);
        out.freeze()
    }

    fn masked(&self, before: usize) -> Bytes {
        let mut out = BytesMut::from(&self.buffer[before..]);
        cover(&mut out, before, &self.marks);
        out.freeze()
    }

    /// Keeps of what was sent what a form could begin in.
    fn remember(&mut self) {
        let done = self.buffer.len().saturating_sub(self.scanner.longest() - 1);
        self.buffer.advance(done);
        self.sent = self.buffer.len();
        self.covered = self.covered.saturating_sub(done);
        self.marks.clear();
    }

    fn forget(&mut self) {
        self.buffer.clear();
        self.marks.clear();
        (self.sent, self.covered) = (0, 0);
    }
}

#[cfg(test)]
mod tests;
