//! Numbers in a record, least significant byte first. Never reads past its end.

/// What is left of a record.
pub(super) struct Fields<'r>(pub(super) &'r [u8]);

impl Fields<'_> {
    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// Zeros where the record is too short, which those who read fixed records do not see.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((first, rest)) = self.0.split_first_chunk() else {
            return [0; N];
        };
        self.0 = rest;
        *first
    }
}
