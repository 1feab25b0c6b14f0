//! A value that must never be seen. It cannot be printed, serialised, cloned by accident or compared in variable
//! time; it wipes its memory when dropped. Whoever calls [`Secret::expose`] answers for where the bytes go.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

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
}
