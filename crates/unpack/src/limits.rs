//! How much an archive may hold. Never guessed from the archive itself.

use serde::{Deserialize, Serialize};

/// Bounds on what comes out of an archive, counted after decompression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The most compressed bytes.
    pub archive_bytes_max: u64,
    /// The most entries (files, directories and links); a directory that is made because a path leads through it counts too.
    pub entries_max: u64,
    /// The most bytes of all files together.
    pub total_bytes_max: u64,
    /// The most bytes of one file.
    pub file_bytes_max: u64,
    /// The deepest path, in components.
    pub depth_max: usize,
    /// The most bytes that one compressed byte may become, once 1 MiB has come out.
    pub ratio_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            archive_bytes_max: 1 << 30,
            entries_max: 200_000,
            total_bytes_max: 4 << 30,
            file_bytes_max: 1 << 30,
            depth_max: 64,
            ratio_max: 200,
        }
    }
}
