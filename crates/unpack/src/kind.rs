//! What some bytes are, by their first block. Never by a name.

use crate::UnpackError;

/// How many bytes the kind is told by: a block of tar.
pub const HEAD_BYTES: usize = 512;

/// How a second archive in the same bytes would begin that readers could prefer.
const TAR_MAGIC_AT: std::ops::Range<usize> = 257..262;
const TAR_MAGIC: &[u8] = b"ustar";

/// Where tar keeps the sum of a header's bytes.
const TAR_SUM_AT: std::ops::Range<usize> = 148..156;

pub(crate) const GZIP_MAGIC: &[u8] = b"\x1f\x8b";
pub(crate) const ZSTD_MAGIC: &[u8] = b"\x28\xb5\x2f\xfd";

/// Archives of kinds that are not unpacked, which nobody wants as a single file.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"LZIP", "lzip"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x1f\x9d", "compress"),
    (b"070701", "cpio"),
    (b"070702", "cpio"),
    (b"070707", "cpio"),
    (b"PK00PK", "split zip"),
    (b"PK\x07\x08", "split zip"),
];

/// What the first bytes announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looks {
    Tar,
    /// Gzip, and inside it tar or nothing that is taken.
    Gzip,
    /// Zstandard, and inside it the same.
    Zstd,
    Zip,
    /// No archive.
    File,
}

impl Looks {
    /// Tells by the first [`HEAD_BYTES`], or all there are.
    pub(crate) fn of(head: &[u8]) -> Result<Self, UnpackError> {
        let looks = if head.starts_with(GZIP_MAGIC) {
            Self::Gzip
        } else if head.starts_with(ZSTD_MAGIC) || is_skippable_frame(head) {
            Self::Zstd
        } else if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            Self::Zip
        } else if head.get(TAR_MAGIC_AT) == Some(TAR_MAGIC) {
            return Ok(Self::Tar);
        } else {
            refuse_foreign(head)?;
            return Ok(Self::File);
        };
        if is_tar(head) {
            return Err(unknown("an archive of two kinds at once"));
        }
        Ok(looks)
    }
}

/// Whether these first [`HEAD_BYTES`] (or all there are) are of a single file, which keeps its name, and not of an archive.
#[must_use]
pub fn is_single_file(head: &[u8]) -> bool {
    matches!(
        Looks::of(&head[..head.len().min(HEAD_BYTES)]),
        Ok(Looks::File)
    )
}

/// Whether the head is of a tar archive in one of the formats that are read.
pub(crate) fn is_tar(head: &[u8]) -> bool {
    head.get(TAR_MAGIC_AT) == Some(TAR_MAGIC)
}

pub(crate) fn unknown(what: &str) -> UnpackError {
    UnpackError::UnknownKind(format!(
        "{what}; what is unpacked is .tar, .tar.gz, .tar.zst and .zip"
    ))
}

fn refuse_foreign(head: &[u8]) -> Result<(), UnpackError> {
    if let Some((_, name)) = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(unknown(&format!("{name}, which is not unpacked")));
    }
    if head.len() >= HEAD_BYTES && is_old_tar(&head[..HEAD_BYTES]) {
        return Err(unknown(
            "tar in a format from before 1988, or an empty archive",
        ));
    }
    Ok(())
}

/// Skippable frames of Zstandard: sixteen marks in a row.
fn is_skippable_frame(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// A block that older readers take for a header of tar, or for the end of an empty archive.
fn is_old_tar(block: &[u8]) -> bool {
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            u64::from(if TAR_SUM_AT.contains(&at) {
                b' '
            } else {
                *byte
            })
        })
        .sum();
    let said = block[TAR_SUM_AT]
        .split(|byte| matches!(byte, b' ' | b'\0'))
        .find(|digits| !digits.is_empty());
    let said = said.and_then(|digits| std::str::from_utf8(digits).ok());
    let said = said.and_then(|digits| u64::from_str_radix(digits, 8).ok());
    said == Some(sum) || block.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_told_by_content_alone() {
        let mut tar = [0; HEAD_BYTES];
        tar[TAR_MAGIC_AT].copy_from_slice(TAR_MAGIC);
        for (head, looks) in [
            (tar.as_slice(), Looks::Tar),
            (b"\x1f\x8b\x08", Looks::Gzip),
            (b"\x28\xb5\x2f\xfd", Looks::Zstd),
            (b"\x53\x2a\x4d\x18", Looks::Zstd),
            (b"PK\x03\x04", Looks::Zip),
            (b"PK\x05\x06", Looks::Zip),
            (b"", Looks::File),
            (b"#!/usr/bin/env python3\nPK\x03\x04", Looks::File),
            (b"\x7fELF", Looks::File),
            (b"PKunzip", Looks::File),
            (&[b'x'; 600], Looks::File),
        ] {
            assert_eq!(Looks::of(head), Ok(looks), "{head:?}");
            assert_eq!(is_single_file(head), looks == Looks::File);
        }
    }

    #[test]
    fn archives_of_other_kinds_are_no_single_files() {
        let mut two = [0; HEAD_BYTES];
        two[TAR_MAGIC_AT].copy_from_slice(TAR_MAGIC);
        two[..4].copy_from_slice(b"PK\x03\x04");
        let mut old = [0; HEAD_BYTES];
        old[0] = b'a';
        old[TAR_SUM_AT].copy_from_slice(b"  541\0  ");
        for head in [
            b"\xfd7zXZ\0\0".as_slice(),
            b"BZh91AY&SY",
            b"7z\xbc\xaf\x27\x1c",
            b"Rar!\x1a\x07\x01",
            &two,
            &old,
            &[0; 1024],
        ] {
            assert!(
                matches!(Looks::of(head), Err(UnpackError::UnknownKind(_))),
                "{head:?}"
            );
            assert!(!is_single_file(head));
        }
    }
}
