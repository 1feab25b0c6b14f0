//! Zip archives byte by byte, so that every lie can be told. Never checks what it is asked to write.

use std::io::Write;

use flate2::{Compression, Crc, write::DeflateEncoder};

/// One entry, as it is told in both places; a lie is told in `tell`.
#[derive(Clone)]
pub(in crate::tests) struct Part {
    pub(in crate::tests) name: Vec<u8>,
    pub(in crate::tests) content: Vec<u8>,
    pub(in crate::tests) flags: u16,
    pub(in crate::tests) method: u16,
    pub(in crate::tests) mode: u32,
    pub(in crate::tests) system: u8,
    pub(in crate::tests) extra: Vec<u8>,
    pub(in crate::tests) listed_extra: Vec<u8>,
    pub(in crate::tests) comment: Vec<u8>,
    /// Changes the local header (without mark and name).
    pub(in crate::tests) local: Lie,
    /// Changes the line of the directory (without mark and name).
    pub(in crate::tests) listed: Lie,
    /// The name in the directory, where it is another.
    pub(in crate::tests) listed_name: Option<Vec<u8>>,
    /// What follows the content instead of a descriptor with a mark.
    pub(in crate::tests) behind: Option<Vec<u8>>,
    pub(in crate::tests) is_listed: bool,
    pub(in crate::tests) is_there: bool,
    /// Bytes between this entry and the one before.
    pub(in crate::tests) before: Vec<u8>,
}

/// An archive that grows.
#[derive(Clone, Default)]
pub(in crate::tests) struct Zip {
    parts: Vec<Part>,
    comment: Vec<u8>,
    is_long: bool,
}

/// What changes a record.
pub(super) type Lie = fn(&mut [u8]);

const ENDS: usize = 18;

impl Zip {
    pub(in crate::tests) fn file(self, name: &str, content: &str) -> Self {
        self.with(name, content, |_| {})
    }

    pub(in crate::tests) fn with(
        self,
        name: &str,
        content: &str,
        change: impl FnOnce(&mut Part),
    ) -> Self {
        self.raw(name.as_bytes(), content.as_bytes(), change)
    }

    pub(super) fn raw(
        mut self,
        name: &[u8],
        content: &[u8],
        change: impl FnOnce(&mut Part),
    ) -> Self {
        let is_directory = name.ends_with(b"/");
        let mut part = Part {
            name: name.to_vec(),
            content: content.to_vec(),
            flags: 0x800,
            method: if is_directory { 0 } else { 8 },
            mode: if is_directory { 0o40_755 } else { 0o100_644 },
            system: 3,
            extra: Vec::new(),
            listed_extra: Vec::new(),
            comment: Vec::new(),
            local: |_| {},
            listed: |_| {},
            listed_name: None,
            behind: None,
            is_listed: true,
            is_there: true,
            before: Vec::new(),
        };
        change(&mut part);
        self.parts.push(part);
        self
    }

    pub(super) fn long(mut self) -> Self {
        self.is_long = true;
        self
    }

    pub(super) fn comment(mut self, comment: &[u8]) -> Self {
        self.comment = comment.to_vec();
        self
    }

    pub(in crate::tests) fn end(&self) -> Vec<u8> {
        self.end_with(|_| {})
    }

    /// The whole archive; `change` gets the end record without its mark.
    pub(super) fn end_with(&self, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let (mut bytes, mut directory) = (Vec::new(), Vec::new());
        for part in &self.parts {
            bytes.extend_from_slice(&part.before);
            let at = bytes.len();
            if part.is_there {
                part.write(&mut bytes);
            }
            if part.is_listed {
                part.list(at, &mut directory);
            }
        }
        let (from, length) = (bytes.len(), directory.len());
        let count = self.parts.iter().filter(|part| part.is_listed).count();
        bytes.extend_from_slice(&directory);
        if self.is_long {
            self.write_long(&mut bytes, [count, length, from]);
        }
        let mut end = Vec::new();
        end.extend_from_slice(&[0; 4]);
        let short = u16::try_from(count).unwrap();
        end.extend_from_slice(&[short.to_le_bytes(), short.to_le_bytes()].concat());
        end.extend_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
        end.extend_from_slice(&u32::try_from(from).unwrap().to_le_bytes());
        end.extend_from_slice(&u16::try_from(self.comment.len()).unwrap().to_le_bytes());
        assert_eq!(end.len(), ENDS);
        if self.is_long {
            end[4..16].fill(0xff);
        }
        change(&mut end);
        bytes.extend_from_slice(b"PK\x05\x06");
        bytes.extend_from_slice(&end);
        bytes.extend_from_slice(&self.comment);
        bytes
    }

    fn write_long(&self, bytes: &mut Vec<u8>, [count, length, from]: [usize; 3]) {
        let at = bytes.len() as u64;
        bytes.extend_from_slice(b"PK\x06\x06");
        bytes.extend_from_slice(&44_u64.to_le_bytes());
        bytes.extend_from_slice(&[45, 3, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for number in [count, count, length, from] {
            bytes.extend_from_slice(&(number as u64).to_le_bytes());
        }
        bytes.extend_from_slice(b"PK\x06\x07\0\0\0\0");
        bytes.extend_from_slice(&at.to_le_bytes());
        bytes.extend_from_slice(&1_u32.to_le_bytes());
    }
}

impl Part {
    fn packed(&self) -> Vec<u8> {
        if self.method != 8 {
            return self.content.clone();
        }
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&self.content).unwrap();
        encoder.finish().unwrap()
    }

    fn numbers(&self) -> [u32; 3] {
        let mut sum = Crc::new();
        sum.update(&self.content);
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        [sum.sum(), length(&self.packed()), length(&self.content)]
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let numbers = self.numbers().map(u32::to_le_bytes).concat();
        let mut header = vec![20, 0];
        header.extend_from_slice(&[self.flags.to_le_bytes(), self.method.to_le_bytes()].concat());
        header.extend_from_slice(&[0; 4]);
        let is_behind = self.flags & 8 != 0;
        header.extend_from_slice(if is_behind { &[0; 12] } else { &numbers });
        for length in [self.name.len(), self.extra.len()] {
            header.extend_from_slice(&u16::try_from(length).unwrap().to_le_bytes());
        }
        (self.local)(&mut header);
        bytes.extend_from_slice(b"PK\x03\x04");
        for piece in [&header, &self.name, &self.extra, &self.packed()] {
            bytes.extend_from_slice(piece);
        }
        match &self.behind {
            Some(behind) => bytes.extend_from_slice(behind),
            None if is_behind => {
                bytes.extend_from_slice(b"PK\x07\x08");
                bytes.extend_from_slice(&numbers);
            }
            None => {}
        }
    }

    fn list(&self, at: usize, directory: &mut Vec<u8>) {
        let name = self.listed_name.as_ref().unwrap_or(&self.name);
        let mut line = vec![20, self.system, 20, 0];
        line.extend_from_slice(&[self.flags.to_le_bytes(), self.method.to_le_bytes()].concat());
        line.extend_from_slice(&[0; 4]);
        line.extend_from_slice(&self.numbers().map(u32::to_le_bytes).concat());
        for length in [
            name.len(),
            self.listed_extra.len(),
            self.comment.len(),
            0,
            0,
        ] {
            line.extend_from_slice(&u16::try_from(length).unwrap().to_le_bytes());
        }
        line.extend_from_slice(&(self.mode << 16).to_le_bytes());
        line.extend_from_slice(&u32::try_from(at).unwrap().to_le_bytes());
        (self.listed)(&mut line);
        directory.extend_from_slice(b"PK\x01\x02");
        for piece in [&line, name, &self.listed_extra, &self.comment] {
            directory.extend_from_slice(piece);
        }
    }
}
