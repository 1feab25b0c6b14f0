//! A secret that somebody types at a terminal. Never shown there, and never left in the line that the terminal keeps: the bytes
//! are taken one by one, so that a long one is not cut off after 4095 either.

use std::io::{self, IsTerminal as _, Read, Write as _};

use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use postern_contract::Secret;
use zeroize::Zeroizing;

use super::{VALUE_BYTES_MAX, unbuffered};

/// What a key sends that is no part of what is typed.
const CANCEL: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACES: [u8; 2] = [0x08, 0x7f];
const KILL_LINE: u8 = 0x15;

/// A terminal that shows nothing, until this is dropped.
struct Silent(Termios);

impl Silent {
    fn make() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        // Signals too: a process that Ctrl-C ended would leave the terminal silent.
        let shown = LocalFlags::ECHO | LocalFlags::ECHONL | LocalFlags::ICANON | LocalFlags::ISIG;
        silent.local_flags.remove(shown);
        silent.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        silent.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.0);
        let _ = io::stderr().write_all(b"\n");
    }
}

/// Asks for one line.
pub(super) fn ask(question: &str) -> io::Result<Secret> {
    debug_assert!(io::stdin().is_terminal());
    let _silent = Silent::make()?;
    let mut error = io::stderr();
    error.write_all(question.as_bytes())?;
    error.flush()?;
    line(unbuffered()?)
}

fn line(mut keys: impl Read) -> io::Result<Secret> {
    // Whole from the start: what grows leaves copies behind.
    let mut typed = Zeroizing::new(Vec::with_capacity(VALUE_BYTES_MAX));
    let mut key = Zeroizing::new([0]);
    loop {
        keys.read_exact(&mut key[..])?;
        match key[0] {
            b'\r' | b'\n' | END => return Ok(Secret::new(typed.to_vec())),
            CANCEL => return Err(io::ErrorKind::Interrupted.into()),
            KILL_LINE => typed.clear(),
            key if BACKSPACES.contains(&key) => drop(typed.pop()),
            key if typed.len() < VALUE_BYTES_MAX => typed.push(key),
            _ => return Err(io::ErrorKind::FileTooLarge.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> io::Result<Secret> {
        line(keys)
    }

    #[test]
    fn a_line_ends_with_its_key_and_can_be_mended() {
        assert!(typed(b"sk_1\rmore").unwrap().is(b"sk_1"));
        assert!(typed(b"sk_2\x7f1\x04").unwrap().is(b"sk_1"));
        assert!(typed(b"\x7fwrong\x15sk_1\n").unwrap().is(b"sk_1"));
        let long = [&[b'a'; 5000][..], b"\n"].concat();
        assert_eq!(typed(&long).unwrap().expose().len(), 5000);
    }

    #[test]
    fn what_is_given_up_is_nothing() {
        let cancelled = typed(b"sk_1\x03").unwrap_err();
        assert_eq!(cancelled.kind(), io::ErrorKind::Interrupted);
        assert!(typed(b"sk_1").is_err());
    }
}
