//! `[audit]` as written. Never opens a file.

use std::path::PathBuf;

use serde::Deserialize;

use crate::{ByteSize, Period};

/// How long one file of the log may get, unless the config says otherwise.
const ROTATE: ByteSize = ByteSize(64 << 20);

/// What becomes of the gate's audit log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// A file that the log's heads are appended to; `audit.heads` in the gate's state directory if not given. A relative
    /// path starts from the config's directory.
    pub heads: Option<PathBuf>,
    /// How long one file may get before the next begins.
    #[serde(default = "default_rotate")]
    pub rotate: ByteSize,
    /// How old a file may get; for ever if not given.
    pub keep: Option<Period>,
    /// Whether files may go that nobody has exported.
    #[serde(default)]
    pub delete_unexported: bool,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            heads: None,
            rotate: ROTATE,
            keep: None,
            delete_unexported: false,
        }
    }
}

fn default_rotate() -> ByteSize {
    ROTATE
}
