//! Builds `.tar.gz` archives byte by byte, good ones and ones no packer would make. Never reads one.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

/// An archive under construction.
#[derive(Debug, Default)]
pub struct Archive(Vec<u8>);

impl Archive {
    /// An empty archive.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file with mode 0644.
    #[must_use]
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(path, tar::EntryType::Regular, "", content.as_ref())
    }

    /// Adds an entry as written: the path and the link's target are taken raw, whatever they hold.
    ///
    /// # Panics
    /// When the path or the target is over 100 bytes.
    #[must_use]
    pub fn entry(mut self, path: &str, kind: tar::EntryType, target: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// The plain tar.
    #[must_use]
    pub fn tar(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    /// The tar, compressed.
    ///
    /// # Panics
    /// Never: it writes into memory.
    #[must_use]
    pub fn tar_gz(self) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let written = encoder
            .write_all(&self.tar())
            .and_then(|()| encoder.finish());
        written.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_built_can_be_read() {
        let bytes = Archive::new()
            .file("agent.py", "x = 1")
            .file("b/c.py", "")
            .tar_gz();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
        let paths: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(paths, ["agent.py", "b/c.py"]);
    }
}
