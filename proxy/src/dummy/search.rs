//! Finds dummies in bytes, in every form that answers are looked through for a credential. Never says which form it was.

use std::{fmt, io, sync::Arc};

use crate::mask::{Scanner, Scanners, forms};

/// What to look for.
pub(super) struct Search {
    scanners: Scanners,
    count: usize,
}

impl Search {
    /// For these, each of which takes some guessing.
    pub(super) fn new(dummies: &[&str]) -> io::Result<Self> {
        let key = getrandom::u64().map_err(io::Error::from)?;
        if !dummies.iter().all(|dummy| is_worth(dummy)) {
            return Err(io::Error::other("one of them could be guessed"));
        }
        let values = dummies.iter().map(|dummy| dummy.as_bytes());
        Ok(Self {
            scanners: Scanner::new(values, key)
                .into_iter()
                .map(Arc::new)
                .collect(),
            count: dummies.len(),
        })
    }

    /// The length of the longest form, in bytes.
    pub(super) fn longest(&self) -> usize {
        self.scanners.longest()
    }

    /// Tells which of them are in a text, by their numbers, each as often as it is there.
    pub(super) fn find(&self, text: &[u8], mut found: impl FnMut(usize)) {
        self.scanners.find(text, |hit| found(hit.value));
    }
}

/// Whether a text takes enough guessing to be looked for.
pub(super) fn is_worth(text: &str) -> bool {
    !forms::of(text.as_bytes()).is_empty()
}

impl fmt::Debug for Search {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Search for {}", self.count)
    }
}
