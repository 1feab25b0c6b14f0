//! Archives onto disk: hostile bytes in, a directory of plain files out, or an error. Never writes outside the directory it was
//! given, never follows a link, never makes anything but files, directories and links that stay inside.
//!
//! ```text
//!  bytes ─▶ packed: count, hash ─┬▶ source: inflate ─▶ tarball, member: one checked entry ─┐
//!                                ├▶ zip: a checked record, inflated ───────────────────────┼▶ site: names, limits ─▶ disk: openat2
//!                                └▶ a single file ─────────────────────────────────────────┘     │     └▶ files ─▶ writers
//!                                                                       links wait ──▶ made last, each checked by the kernel
//! ```
//!
//! An archive is read once, front to back, and never kept: the hash has a thread beside the work where there is much to hash, and
//! so have the files, as soon as they are more than a few.
//!
//! The destination is a fresh directory that nobody else writes to. After an error it holds part of the archive and is thrown
//! away; after success nothing in it came from anywhere but the archive.

#![forbid(unsafe_code)]

mod disk;
mod error;
mod files;
mod hash;
mod kind;
mod limits;
mod member;
mod names;
mod packed;
mod pax;
mod place;
mod report;
mod site;
mod source;
mod tarball;
mod trouble;
mod zip;
mod zstandard;

pub use error::UnpackError;
pub use kind::{HEAD_BYTES, Object};
pub use limits::Limits;
pub use report::{IMAGE_NAME, Kind, Report};

use std::{io::Read, os::fd::BorrowedFd};

use kind::Looks;
use packed::Packed;
use site::Site;

/// Unpacks an archive (`.tar`, `.tar.gz`, `.tar.zst` or `.zip`, told apart by content) into an empty directory. What is no
/// archive becomes a single file there, which gets the name; an image does too, under a name of its own.
///
/// # Errors
/// See [`UnpackError`]; the directory then holds a part of the archive and is to be thrown away.
pub fn unpack(
    archive: impl Read,
    name: &str,
    destination: BorrowedFd<'_>,
    limits: &Limits,
) -> Result<Report, UnpackError> {
    let packed = Packed::open(archive, limits)?;
    let head = packed.head();
    let looks = Looks::of(&head[..head.len().min(HEAD_BYTES)])?;
    let mut site = Site::new(destination, limits)?;
    let (kind, sha256) = match looks {
        Looks::File => (Kind::File, place_file(packed, name, &mut site)?),
        Looks::Image => (Kind::Image, place_file(packed, IMAGE_NAME, &mut site)?),
        Looks::Zip => (Kind::Zip, zip::unpack(packed, (&mut site, limits))?),
        Looks::Tar | Looks::Gzip | Looks::Zstd => {
            tarball::unpack(packed, looks, (&mut site, limits))?
        }
    };
    Ok(Report {
        entries: site.entries(),
        bytes: site.bytes(),
        sha256,
        kind,
    })
}

/// Puts all that comes into a single file, mode 0644.
fn place_file<R: Read>(
    mut packed: Packed<R>,
    name: &str,
    site: &mut Site<'_>,
) -> Result<String, UnpackError> {
    let trouble = packed.trouble();
    let place = site.place_of(name.as_bytes())?;
    if place.depth() != 1 || name != place.name() {
        return Err(UnpackError::name(name, "is not the name of one file"));
    }
    site.begin_file(&place, false, None)?;
    site.fill_file(&mut packed).map_err(|e| trouble.first(e))?;
    site.end_file()?;
    site.settle_files()?;
    packed.into_digest()
}

#[cfg(test)]
mod tests;
