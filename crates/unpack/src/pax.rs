//! PAX extended headers, read strictly by their lengths. Never guesses: a record that is not exactly as long as it says refuses
//! the archive, and so does a key that stands twice.

use std::collections::HashSet;

use crate::UnpackError;

/// Keys that say how a file with holes is stored; such files are not unpacked.
const SPARSE_PREFIX: &[u8] = b"GNU.sparse.";

/// What an extended header says that matters here. Times, owners, attributes and comments are read and dropped.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
}

impl Pax {
    /// Reads one extended header.
    pub(crate) fn parse(mut data: &[u8]) -> Result<Self, UnpackError> {
        let mut pax = Self::default();
        let mut seen = HashSet::new();
        while !data.is_empty() {
            let (key, value, rest) = record(data).ok_or_else(|| broken("is malformed"))?;
            data = rest;
            if !seen.insert(key) {
                return Err(broken("says one thing twice"));
            }
            match key {
                b"path" => pax.path = Some(value.to_vec()),
                b"linkpath" => pax.link = Some(value.to_vec()),
                b"size" => {
                    let size =
                        number(value).ok_or_else(|| broken("has a size that is no number"))?;
                    pax.size = Some(size);
                }
                _ if key.starts_with(SPARSE_PREFIX) => {
                    return Err(UnpackError::forbidden("an entry", "a sparse file"));
                }
                _ => {}
            }
        }
        Ok(pax)
    }

    /// Whether it would change what an entry is called, where it leads or how large it is.
    pub(crate) fn says_something(&self) -> bool {
        self != &Self::default()
    }
}

fn broken(what: &str) -> UnpackError {
    UnpackError::damaged(format!("an extended header {what}"))
}

/// One record, `LENGTH KEY=VALUE\n`, where the length counts all of it.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().position(|b| *b == b' ')?;
    let length = usize::try_from(number(&data[..space])?).ok()?;
    let record = data.get(space + 1..length)?;
    let record = record.strip_suffix(b"\n")?;
    let equals = record
        .iter()
        .position(|b| *b == b'=')
        .filter(|at| *at > 0)?;
    Some((&record[..equals], &record[equals + 1..], &data[length..]))
}

fn number(digits: &[u8]) -> Option<u64> {
    let is_plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if is_plain {
        std::str::from_utf8(digits).ok()?.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_are_read_by_length_even_over_line_ends() {
        let pax = Pax::parse(b"12 path=a/b\n23 comment=x\n9 path=evil\n11 size=00\n").unwrap_err();
        assert!(matches!(pax, UnpackError::Damaged(_)));
        let pax = Pax::parse(b"12 path=a/b\n27 comment=x\n11 path=evil\n\n10 size=7\n").unwrap();
        assert_eq!(
            (pax.path.as_deref(), pax.size),
            (Some(b"a/b".as_slice()), Some(7))
        );
    }

    #[test]
    fn broken_double_and_sparse_headers_are_refused() {
        for bad in [
            b"".as_slice().to_vec(),
            b"12 path=a/b\n12 path=a/c\n".to_vec(),
            b"11 path=a/b\n".to_vec(),
            b"13 path=a/b\n".to_vec(),
            b"99999999999999999999 path=a\n".to_vec(),
            b"-1 path=a\n".to_vec(),
            b"+12 path=a/b\n".to_vec(),
            b"5 =x\n".to_vec(),
            b"6 path\n".to_vec(),
            b"11 size=-1\n".to_vec(),
            b"0 a=b\n".to_vec(),
            b"22 GNU.sparse.major=1\n".to_vec(),
        ]
        .into_iter()
        .skip(1)
        {
            assert!(
                Pax::parse(&bad).is_err(),
                "{}",
                String::from_utf8_lossy(&bad)
            );
        }
        assert!(!Pax::parse(b"").unwrap().says_something());
        assert!(!Pax::parse(b"14 mtime=1.50\n").unwrap().says_something());
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(prop::sample::select(b"0123 =\npath".to_vec()), 0..60)) {
            let _ = Pax::parse(&bytes);
        }
    }
}
