//! `[audit]` as written. Never opens a file.

use std::path::PathBuf;

use serde::Deserialize;

use crate::{ByteSize, Period};

/// How long one file of the log may get, unless the config says otherwise.
const ROTATE: ByteSize = ByteSize(64 << 20);

/// How much one sandbox may write a day, unless the config says otherwise: some ten million calls.
const PER_SANDBOX: ByteSize = ByteSize(8 << 30);

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
    /// How much one sandbox may write a day; a whole day's may be written at once.
    #[serde(default = "default_per_sandbox")]
    pub per_sandbox: ByteSize,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            heads: None,
            rotate: ROTATE,
            keep: None,
            delete_unexported: false,
            per_sandbox: PER_SANDBOX,
        }
    }
}

fn default_per_sandbox() -> ByteSize {
    PER_SANDBOX
}

fn default_rotate() -> ByteSize {
    ROTATE
}
