//! What was unpacked. Never says where.

use serde::{Deserialize, Serialize};

/// What came out of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Files, directories and links made.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// SHA-256 of the archive as it came (compressed), in lower-case hex.
    pub sha256: String,
    /// What it was.
    pub kind: Kind,
}

/// What an image is called where it was put.
pub const IMAGE_NAME: &str = "image.erofs";

/// What an archive was, by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A plain tar archive.
    Tar,
    /// A tar archive compressed with gzip.
    TarGz,
    /// A tar archive compressed with Zstandard.
    TarZst,
    /// A zip archive.
    Zip,
    /// A single file.
    File,
    /// An image of a file system, put down as it came under the name [`IMAGE_NAME`].
    Image,
}
