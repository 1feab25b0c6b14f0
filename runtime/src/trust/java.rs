//! The list of authorities as Java reads it: a key store of the oldest format, JKS, which every JDK can open. Holds
//! certificates alone, never a key.
//!
//! The format is that of `sun.security.provider.JavaKeyStore` in OpenJDK, version 2: a head, the entries, and a SHA-1 over a
//! password, a fixed word and all before it. That digest protects nothing, but Java checks it where a program gives the password.

use sha1::{Digest as _, Sha1};

/// What such a file begins with.
const MAGIC: u32 = 0xfeed_feed;

/// The only version that is written today.
const VERSION: u32 = 2;

/// The kind of an entry: a certificate that is trusted.
const TRUSTED_CERTIFICATE: u32 = 2;

/// The kind of all certificates.
const X509: &str = "X.509";

/// The password of every list of authorities that a JDK brings; programs that name one name this.
const PASSWORD: &str = "changeit";

/// What the digest is made over beside the password and the file.
const WORD: &[u8] = b"Mighty Aphrodite";

/// A key store that trusts these certificates, each in DER.
pub(super) fn key_store<'a>(certificates: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut store = Vec::new();
    store.extend(MAGIC.to_be_bytes());
    store.extend(VERSION.to_be_bytes());
    store.extend(length(certificates.len()));
    for (number, certificate) in certificates.enumerate() {
        store.extend(TRUSTED_CERTIFICATE.to_be_bytes());
        text(&mut store, &format!("authority-{number}"));
        // When it was added, in milliseconds: the same file each time.
        store.extend(0_u64.to_be_bytes());
        text(&mut store, X509);
        store.extend(length(certificate.len()));
        store.extend(certificate);
    }
    let digest = digest(&store);
    store.extend(digest);
    store
}

fn digest(store: &[u8]) -> [u8; 20] {
    let mut digest = Sha1::new();
    for unit in PASSWORD.encode_utf16() {
        digest.update(unit.to_be_bytes());
    }
    digest.update(WORD);
    digest.update(store);
    digest.finalize().into()
}

/// A short ASCII text, in front of it its length.
fn text(store: &mut Vec<u8>, text: &str) {
    store.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    store.extend(text.as_bytes());
}

/// A length or number; the list is bounded far below the format's four gigabytes.
fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_a_head_its_entries_and_a_digest() {
        let store = key_store([&b"abc"[..]].into_iter());
        let expected: &[u8] = b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x01\
            \0\0\0\x02\0\x0bauthority-0\0\0\0\0\0\0\0\0\0\x05X.509\0\0\0\x03abc";
        assert_eq!(&store[..store.len() - 20], expected);
        assert_eq!(store[store.len() - 20..], digest(expected));
    }
}
