//! The extra fields of a header: long sizes, and other names. Never lets one say something else than the header does.

use flate2::Crc;

use super::fields::Fields;
use crate::UnpackError;

/// Sizes and places of 64 bits.
const LONG: u16 = 0x0001;

/// The name in UTF-8.
const UNICODE_NAME: u16 = 0x7075;

/// Fields that make something else of an entry: strong encryption, AES, and another place for its attributes.
const REFUSED: &[(u16, &str)] = &[
    (0x0017, "is encrypted"),
    (0x9901, "is encrypted"),
    (0x6c78, "has its attributes in two places"),
];

/// What stands in a header where the number is in the long field.
pub(super) const ELSEWHERE: u32 = u32::MAX;

/// The extra fields that matter.
#[derive(Default)]
pub(super) struct Extra<'e> {
    /// The content of the long field.
    pub(super) long: Option<&'e [u8]>,
}

impl<'e> Extra<'e> {
    /// Reads the fields of an entry that has this name.
    pub(super) fn read(mut bytes: &'e [u8], name: &[u8]) -> Result<Self, UnpackError> {
        let refuse = |why: &str| {
            let shown = String::from_utf8_lossy(name);
            Err(UnpackError::entry(&shown, why))
        };
        let mut extra = Self::default();
        let mut has_name = false;
        while !bytes.is_empty() {
            let Some((id, content, rest)) = split(bytes) else {
                return refuse("has extra fields that do not end where they should");
            };
            bytes = rest;
            match id {
                LONG if extra.long.replace(content).is_some() => {
                    return refuse("has its long sizes twice");
                }
                UNICODE_NAME if std::mem::replace(&mut has_name, true) => {
                    return refuse("has another name twice");
                }
                UNICODE_NAME if !says_the_same(content, name) => {
                    return refuse("has two names");
                }
                _ => {}
            }
            if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == id) {
                return refuse(why);
            }
        }
        Ok(extra)
    }
}

fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    let mut head = Fields(head);
    let (id, length) = (head.u16(), head.u16());
    let (content, rest) = rest.split_at_checked(usize::from(length))?;
    Some((id, content, rest))
}

fn says_the_same(content: &[u8], name: &[u8]) -> bool {
    let mut sum = Crc::new();
    sum.update(name);
    content.len() == name.len() + 5
        && content[0] == 1
        && Fields(&content[1..]).u32() == sum.sum()
        && content[5..] == *name
}
