//! What a human's wider yes was given under: the tools, policies and agents as they are written. Never says what has changed.

use sha2::{Digest as _, Sha256};

use super::Written;

/// The same for the same text of them, and for no other; another version of this program may have another.
pub(super) fn digest(document: &Written) -> String {
    let said = (&document.tools, &document.policies, &document.agents);
    hex::encode(Sha256::digest(format!("{said:?}")))
}
