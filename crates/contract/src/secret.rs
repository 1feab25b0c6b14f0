//! A value that must never be seen. It cannot be printed, serialised, cloned by accident or compared in variable
//! time; it wipes its memory when dropped. Whoever calls [`Secret::expose`] answers for where the bytes go.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// A secret text or key.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes; the caller's copy should be gone by now.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves. Never log, format or store what comes back.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Compares in constant time for equal lengths; the length itself is no secret.
    #[must_use]
    pub fn is(&self, other: &[u8]) -> bool {
        self.0.ct_eq(other).into()
    }

    /// A second copy on purpose, wiped like the first.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What somebody shows to be compared with a secret: posternd its token, an approver a key. Crosses the link for the gate to
/// verify, and is printed nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shown(String);

impl Shown {
    /// As it was shown.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Whether it is the one that was agreed on; in constant time.
    #[must_use]
    pub fn is(&self, agreed: &Secret) -> bool {
        agreed.is(self.0.as_bytes())
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::new(b"hunter2".to_vec());
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn equality_is_by_content() {
        let secret = Secret::new(b"hunter2".to_vec());
        assert!(secret.is(b"hunter2"));
        assert!(!secret.is(b"hunter3"));
        assert!(!secret.is(b"hunter"));
    }

    #[test]
    fn what_is_shown_stands_in_no_log_line() {
        let shown = Shown::new("hunter2".to_owned());
        assert_eq!(format!("{shown:?}"), "Shown(..)");
        assert!(shown.is(&Secret::new(b"hunter2".to_vec())));
        assert!(!shown.is(&Secret::new(b"hunter3".to_vec())));
    }
}
