//! The first thing that went wrong beneath a parser. Never lost, though the parsers between only say "an error".

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
};

use crate::{UnpackError, error::shown};

/// What was read so far, and the first limit that was hit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble(Rc<Ledger>);

#[derive(Debug, Default)]
struct Ledger {
    packed_bytes: Cell<u64>,
    first: RefCell<Option<UnpackError>>,
}

impl Trouble {
    pub(crate) fn hit(&self, error: UnpackError) -> io::Error {
        self.0.first.borrow_mut().get_or_insert(error);
        io::Error::other("refused")
    }

    /// The limit that was hit, or else the error itself.
    pub(crate) fn first(&self, error: UnpackError) -> UnpackError {
        self.0.first.borrow().clone().unwrap_or(error)
    }

    /// What a reader's error means.
    pub(crate) fn of(&self, error: &io::Error) -> UnpackError {
        let what = if error.kind() == io::ErrorKind::UnexpectedEof {
            UnpackError::cut_off()
        } else {
            UnpackError::damaged(shown(&error.to_string()))
        };
        self.first(what)
    }

    /// Counts bytes of the archive as it came, and says how many there were by now.
    pub(crate) fn count_packed(&self, bytes: usize) -> u64 {
        let sum = self.packed_bytes().saturating_add(bytes as u64);
        self.0.packed_bytes.set(sum);
        sum
    }

    pub(crate) fn packed_bytes(&self) -> u64 {
        self.0.packed_bytes.get()
    }
}
