//! What some bytes are, by their first block. Never by a name.

use crate::UnpackError;

/// How many bytes the kind is told by.
pub const HEAD_BYTES: usize = IMAGE_MAGIC_AT.end;

/// How many of them all but images are told by.
pub(crate) const FIRST_BYTES: usize = 512;

/// Where an EROFS image has its mark; before that is nothing.
const IMAGE_MAGIC_AT: std::ops::Range<usize> = 1024..1028;
const IMAGE_MAGIC: &[u8] = b"\xe2\xe1\xf5\xe0";

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
    /// An EROFS image, which is mounted and never looked into here.
    Image,
    /// No archive.
    File,
}

/// What an object is to whoever has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// Something that is unpacked, or refused by who unpacks.
    Archive,
    /// A single file, which keeps its name.
    File,
    /// An image of a file system.
    Image,
}

impl Object {
    /// Tells by the first [`HEAD_BYTES`], or all there are.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        match Looks::of(head) {
            Ok(Looks::File) => Self::File,
            Ok(Looks::Image) => Self::Image,
            _ => Self::Archive,
        }
    }
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
        } else if is_image(head) {
            return Ok(Self::Image);
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

/// Whether nothing comes before the mark of an image, as whatever makes one has it.
fn is_image(head: &[u8]) -> bool {
    let is_empty = |before: &[u8]| before.iter().all(|byte| *byte == 0);
    head.get(IMAGE_MAGIC_AT) == Some(IMAGE_MAGIC)
        && head.get(..IMAGE_MAGIC_AT.start).is_some_and(is_empty)
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
    if head.get(..FIRST_BYTES).is_some_and(is_old_tar) {
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
        let mut tar = [0; FIRST_BYTES];
        tar[TAR_MAGIC_AT].copy_from_slice(TAR_MAGIC);
        let mut image = [0; HEAD_BYTES];
        image[IMAGE_MAGIC_AT].copy_from_slice(IMAGE_MAGIC);
        let mut marked = image;
        marked[0] = b'#';
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
            (&image, Looks::Image),
            (&marked, Looks::File),
        ] {
            assert_eq!(Looks::of(head), Ok(looks), "{head:?}");
            let is_file = Object::of(head) == Object::File;
            assert_eq!(is_file, looks == Looks::File);
            let is_image = Object::of(head) == Object::Image;
            assert_eq!(is_image, looks == Looks::Image);
        }
    }

    #[test]
    fn archives_of_other_kinds_are_no_single_files() {
        let mut two = [0; FIRST_BYTES];
        two[TAR_MAGIC_AT].copy_from_slice(TAR_MAGIC);
        two[..4].copy_from_slice(b"PK\x03\x04");
        let mut old = [0; FIRST_BYTES];
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
            assert_eq!(Object::of(head), Object::Archive);
        }
    }
}
