//! Records of a zip archive as bytes: read whole, in order. Never looks back.

use std::io::{BufRead, Read};

use sha2::{Digest, Sha256};

use crate::{UnpackError, packed::Packed, trouble::Trouble};

/// What an entry was by its own header and by what was found in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Met {
    pub(super) at: u64,
    /// Half a SHA-256 of the name, which may be long.
    pub(super) name: [u8; 16],
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) sum: u32,
    pub(super) packed: u64,
    pub(super) size: u64,
}

pub(super) fn mark_of(name: &[u8]) -> [u8; 16] {
    let mut mark = [0; 16];
    mark.copy_from_slice(&Sha256::digest(name)[..16]);
    mark
}

/// The archive's bytes, record by record.
pub(super) struct Reader<R> {
    packed: Packed<R>,
    trouble: Trouble,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(packed: Packed<R>) -> Self {
        let trouble = packed.trouble();
        Self { packed, trouble }
    }

    pub(super) fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }

    pub(super) fn position(&self) -> u64 {
        self.packed.position()
    }

    /// How the next record begins.
    pub(super) fn mark(&mut self) -> Result<[u8; 4], UnpackError> {
        self.array()
    }

    /// The next bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], UnpackError> {
        let mut bytes = [0; N];
        self.packed
            .read_exact(&mut bytes)
            .map_err(|e| self.trouble.of(&e))?;
        Ok(bytes)
    }

    pub(super) fn bytes(&mut self, count: u16) -> Result<Vec<u8>, UnpackError> {
        let mut bytes = vec![0; usize::from(count)];
        self.packed
            .read_exact(&mut bytes)
            .map_err(|e| self.trouble.of(&e))?;
        Ok(bytes)
    }

    /// What lies ready, at least one byte.
    pub(super) fn ready(&mut self) -> Result<&[u8], UnpackError> {
        let trouble = &self.trouble;
        let ready = self.packed.fill_buf().map_err(|e| trouble.of(&e))?;
        if ready.is_empty() {
            return Err(UnpackError::cut_off());
        }
        Ok(ready)
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.packed.consume(count);
    }

    pub(super) fn is_at_end(&mut self) -> Result<bool, UnpackError> {
        self.packed.is_at_end()
    }

    pub(super) fn into_digest(self) -> Result<String, UnpackError> {
        self.packed.into_digest()
    }
}
