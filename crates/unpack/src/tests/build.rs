//! Tar archives byte by byte, so that every lie can be told. Never checks what it is asked to write.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use tar::{EntryType, Header};

/// An archive that grows.
#[derive(Clone, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    /// One entry; the name goes into the header as it is, 100 bytes at most.
    pub(super) fn entry(mut self, kind: u8, name: &[u8], link: &[u8], content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        put(&mut header.as_old_mut().name, name);
        put(&mut header.as_old_mut().linkname, link);
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.content(content)
    }

    /// One entry whose header is changed before its checksum is taken.
    pub(super) fn changed(
        mut self,
        name: &[u8],
        change: impl FnOnce(&mut Header),
        content: &[u8],
    ) -> Self {
        let mut header = Header::new_ustar();
        put(&mut header.as_old_mut().name, name);
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.content(content)
    }

    pub(super) fn file(self, name: &str, content: &str) -> Self {
        self.entry(b'0', name.as_bytes(), b"", content.as_bytes())
    }

    pub(super) fn directory(self, name: &str) -> Self {
        self.entry(b'5', name.as_bytes(), b"", b"")
    }

    pub(super) fn symbolic_link(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name.as_bytes(), target.as_bytes(), b"")
    }

    pub(super) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(b'1', name.as_bytes(), target.as_bytes(), b"")
    }

    /// An extended header for the next entry.
    pub(super) fn pax(self, records: &[(&str, &str)]) -> Self {
        self.entry(b'x', b"pax", b"", &pax_records(records))
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// The whole archive with its end.
    pub(super) fn end(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.extend_from_slice(&[0; 1024]);
        bytes
    }

    fn content(mut self, content: &[u8]) -> Self {
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }
}

pub(super) fn pax_records(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while rest + length.to_string().len() != length {
            length = rest + length.to_string().len();
        }
        data.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
    }
    data
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A frame of raw blocks with its checksum, as large as it says.
pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn put(field: &mut [u8; 100], bytes: &[u8]) {
    field[..bytes.len()].copy_from_slice(bytes);
}
