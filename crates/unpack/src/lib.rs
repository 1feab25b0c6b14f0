//! Archives onto disk: hostile bytes in, a directory of plain files out, or an error. Never writes outside the directory it was
//! given, never follows a link, never makes anything but files, directories and links that stay inside.
//!
//! ```text
//!  bytes ─▶ source: count, hash, inflate ─▶ tar blocks ─▶ member: one checked entry ─▶ site: names, limits ─▶ disk: openat2
//!                                                                         links wait ──▶ made last, each checked by the kernel
//! ```
//!
//! The destination is a fresh directory that nobody else writes to. After an error it holds part of the archive and is thrown
//! away; after success nothing in it came from anywhere but the archive.

#![forbid(unsafe_code)]

mod disk;
mod error;
mod limits;
mod member;
mod pax;
mod place;
mod report;
mod site;
mod source;

pub use error::UnpackError;
pub use limits::Limits;
pub use report::{Kind, Report};

use std::{io::Read, os::fd::BorrowedFd};

use disk::Disk;
use member::{Extensions, Member};
use place::Place;
use site::Site;
use source::Source;

/// Unpacks a `.tar` or `.tar.gz` (told apart by content) into an empty directory.
///
/// # Errors
/// See [`UnpackError`]; the directory then holds a part of the archive and is to be thrown away.
pub fn unpack(
    archive: impl Read,
    destination: BorrowedFd<'_>,
    limits: &Limits,
) -> Result<Report, UnpackError> {
    let mut source = Source::open(archive, limits)?;
    let mut site = Site::new(Disk::new(destination), limits);
    let end = place_members(&mut source, &mut site)?;
    site.place_links()?;
    let kind = source.kind();
    let sha256 = source.finish(end)?;
    Ok(Report {
        entries: site.entries(),
        bytes: site.bytes(),
        sha256,
        kind,
    })
}

/// Places every member but the links, and says where the last one ends in the unpacked stream.
fn place_members<R: Read>(source: &mut Source<R>, site: &mut Site<'_>) -> Result<u64, UnpackError> {
    let trouble = source.trouble();
    let mut archive = tar::Archive::new(source);
    let mut end = 0;
    let mut extensions = Extensions::default();
    let entries = archive.entries().map_err(|e| trouble.of(&e))?;
    for entry in entries.raw(true) {
        let mut entry = entry.map_err(|e| trouble.of(&e))?;
        site.count_entry()?;
        end = member::end_of(&entry)?;
        if !extensions.read(&mut entry).map_err(|e| trouble.first(e))? {
            let member = Member::read(&entry, std::mem::take(&mut extensions))?;
            site.place(member, &mut entry)
                .map_err(|e| trouble.first(e))?;
        }
    }
    if extensions.is_some() {
        return Err(UnpackError::Damaged(
            "it ends where an entry was announced".to_owned(),
        ));
    }
    Ok(end)
}

/// Puts a single file into an empty directory under a name of one component, mode 0644.
///
/// # Errors
/// See [`UnpackError`].
pub fn place_file(
    content: impl Read,
    destination: BorrowedFd<'_>,
    name: &str,
    limits: &Limits,
) -> Result<Report, UnpackError> {
    let place = Place::parse(name.as_bytes(), limits.depth_max)?;
    if place.depth() != 1 || name != place.name() {
        return Err(UnpackError::name(name, "is not the name of one file"));
    }
    let mut source = Source::plain(content, limits);
    let trouble = source.trouble();
    let mut disk = Disk::new(destination);
    let most = limits.file_bytes_max.min(limits.total_bytes_max);
    let mut file = disk.create_file(&place)?;
    let bytes = disk::copy(&mut source, &mut file, most.saturating_add(1));
    let bytes = bytes.map_err(|e| trouble.first(e))?;
    if bytes > most {
        return Err(UnpackError::Limit(format!(
            "the file is larger than {most} bytes"
        )));
    }
    disk::settle(&file, false)?;
    Ok(Report {
        entries: 1,
        bytes,
        sha256: source.into_digest(),
        kind: Kind::File,
    })
}

#[cfg(test)]
mod tests;
