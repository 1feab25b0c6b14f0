//! The names of a sandbox, in the order in which they got their addresses, in memory that outlives this gate: posternd holds
//! the descriptor unread and shows it to the next one. Never on a disk, never longer there than the sandbox, and never
//! a secret.
//!
//! ```text
//! a.example\nb.example\nc.exam        a line a name; what a kill cut off at the end was told to nobody
//! ```

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt as _},
};

use nix::sys::memfd::{MFdFlags, memfd_create};
use postern_policy::HostName;

use super::synthetic::NAMES_PER_SANDBOX_MAX;

/// The longest line: a name of 253 bytes and its end.
const LINE_BYTES_MAX: usize = 254;

/// The memory, and how much of it is written.
#[derive(Debug)]
pub(crate) struct Kept {
    file: File,
    length: u64,
}

impl Kept {
    /// Memory for the names of a new sandbox.
    pub(crate) fn fresh() -> io::Result<Self> {
        let memory = memfd_create(c"postern-names", MFdFlags::MFD_CLOEXEC)?;
        Ok(Self {
            file: File::from(memory),
            length: 0,
        })
    }

    /// Takes over what an earlier gate wrote.
    pub(crate) fn read(memory: OwnedFd) -> io::Result<(Self, Vec<HostName>)> {
        let odd = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let file = File::from(memory);
        let found = file.metadata()?;
        let length = usize::try_from(found.len()).unwrap_or(usize::MAX);
        if !found.is_file() || length > NAMES_PER_SANDBOX_MAX * LINE_BYTES_MAX {
            return Err(odd("what was kept is no list of names"));
        }
        let mut written = vec![0; length];
        file.read_exact_at(&mut written, 0)?;
        let whole = written.iter().rposition(|byte| *byte == b'\n');
        written.truncate(whole.map_or(0, |end| end + 1));
        let names = std::str::from_utf8(&written).map(|text| {
            text.lines()
                .map(str::parse)
                .collect::<Result<Vec<HostName>, _>>()
        });
        let Ok(Ok(names)) = names else {
            return Err(odd("what was kept is no list of names"));
        };
        let length = written.len() as u64;
        file.set_len(length)?;
        Ok((Self { file, length }, names))
    }

    /// The same memory, for whoever holds it on.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// One more name.
    pub(super) fn append(&mut self, name: &HostName) -> io::Result<()> {
        let line = format!("{name}\n");
        self.file.write_all_at(line.as_bytes(), self.length)?;
        self.length += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Synthetic;

    fn name(text: &str) -> HostName {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_gate_gives_every_name_its_old_address_and_no_other_name_gets_it() {
        let kept = Kept::fresh().unwrap();
        let memory = kept.duplicate().unwrap();
        let names = Synthetic::kept(kept, Vec::new());
        let before = ["b.example", "a.example"].map(|text| names.address_of(&name(text)));
        drop(names);
        // A name that a kill cut off while it was written.
        let file = File::from(memory);
        let length = file.metadata().unwrap().len();
        file.write_all_at(b"cut-off.exam", length).unwrap();
        let again = file.try_clone().unwrap();
        let (kept, found) = Kept::read(file.into()).unwrap();
        let names = Synthetic::kept(kept, found);
        let other = names.address_of(&name("c.example"));
        let after = ["b.example", "a.example"].map(|text| names.address_of(&name(text)));
        assert_eq!(before, after);
        assert!(other.is_some() && !before.contains(&other));
        let (_, found) = Kept::read(again.into()).unwrap();
        assert_eq!(found, ["b.example", "a.example", "c.example"].map(name));
    }

    #[test]
    fn what_is_no_list_of_names_is_refused() {
        for written in ["not a name\n", "a.example\n\n", "\u{fc}.example\n"] {
            let kept = Kept::fresh().unwrap();
            kept.file.write_all_at(written.as_bytes(), 0).unwrap();
            let read = Kept::read(kept.duplicate().unwrap());
            assert!(read.is_err(), "{written:?}: {read:?}");
        }
        let (pipe, _end) = io::pipe().unwrap();
        assert!(Kept::read(pipe.into()).is_err());
        let kept = Kept::fresh().unwrap();
        kept.file.set_len(u64::from(u32::MAX)).unwrap();
        assert!(Kept::read(kept.duplicate().unwrap()).is_err());
    }
}
