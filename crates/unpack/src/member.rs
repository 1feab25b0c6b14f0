//! One entry of a tar archive, its extension headers applied and checked. Never chooses between two names, two sizes or two
//! readings: an archive that says two things is refused.

use std::io::Read;

use tar::{Entry, Header};

use crate::{UnpackError, pax::Pax, place::PATH_BYTES_MAX};

/// The unit of tar, in bytes.
pub(crate) const BLOCK_BYTES: u64 = 512;

/// The largest extension header, in bytes.
const EXTENSION_BYTES_MAX: u64 = 64 * 1024;

/// An entry as it will be made.
#[derive(Debug)]
pub(crate) struct Member {
    /// The name as the archive has it.
    pub(crate) name: Vec<u8>,
    pub(crate) what: What,
}

/// What an entry is.
#[derive(Debug)]
pub(crate) enum What {
    File {
        size: u64,
        is_executable: bool,
    },
    Directory,
    /// The target as it stands.
    SymbolicLink(Vec<u8>),
    /// The name of the file it shares.
    HardLink(Vec<u8>),
}

/// What extension headers said about the entry that follows.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    gnu_path: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl Extensions {
    /// Takes in an extension header; false if the entry is none.
    pub(crate) fn read<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<bool, UnpackError> {
        let twice = || UnpackError::damaged("two extension headers of one kind describe one entry");
        match entry.header().entry_type().as_byte() {
            b'L' if self.gnu_path.is_some() => return Err(twice()),
            b'K' if self.gnu_link.is_some() => return Err(twice()),
            b'x' if self.pax.is_some() => return Err(twice()),
            b'L' => self.gnu_path = Some(read_name(entry)?),
            b'K' => self.gnu_link = Some(read_name(entry)?),
            b'x' => self.pax = Some(Pax::parse(&read_all(entry)?)?),
            b'g' => {
                if Pax::parse(&read_all(entry)?)?.says_something() {
                    return Err(UnpackError::damaged(
                        "a global header names all entries alike",
                    ));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether an entry is still to come.
    pub(crate) fn is_some(&self) -> bool {
        self.gnu_path.is_some() || self.gnu_link.is_some() || self.pax.is_some()
    }
}

impl Member {
    /// Reads an entry that is no extension header.
    pub(crate) fn read<R: Read>(
        entry: &Entry<'_, R>,
        said: Extensions,
    ) -> Result<Self, UnpackError> {
        let header = entry.header();
        require_known_format(header)?;
        let pax = said.pax.unwrap_or_default();
        let name =
            one_of(said.gnu_path, pax.path)?.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = one_of(said.gnu_link, pax.link)?
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        if pax.size.is_some_and(|size| size != entry.size()) {
            return Err(UnpackError::damaged("an entry has two sizes"));
        }
        let shown = String::from_utf8_lossy(&name);
        let linked = || {
            link.clone()
                .ok_or_else(|| UnpackError::link(&shown, "leads nowhere"))
        };
        let what = match header.entry_type().as_byte() {
            b'0' | b'\0' if name.ends_with(b"/") => {
                return Err(UnpackError::name(
                    &shown,
                    "is a directory's, but the entry is a file",
                ));
            }
            b'0' | b'\0' => What::File {
                size: entry.size(),
                is_executable: is_executable(header)?,
            },
            b'1' => What::HardLink(linked()?),
            b'2' => What::SymbolicLink(linked()?),
            b'5' => What::Directory,
            b'3' | b'4' => return Err(UnpackError::forbidden(&shown, "a device")),
            b'6' => return Err(UnpackError::forbidden(&shown, "a FIFO")),
            b'S' => return Err(UnpackError::forbidden(&shown, "a sparse file")),
            _ => return Err(UnpackError::forbidden(&shown, "of an unknown kind")),
        };
        if !matches!(what, What::File { .. }) && entry.size() != 0 {
            return Err(UnpackError::damaged("an entry that is no file has content"));
        }
        Ok(Self { name, what })
    }
}

/// Where an entry, its content and its padding end in the stream.
pub(crate) fn end_of<R: Read>(entry: &Entry<'_, R>) -> Result<u64, UnpackError> {
    let blocks = entry.size().div_ceil(BLOCK_BYTES);
    let content = blocks.checked_mul(BLOCK_BYTES);
    let end = content.and_then(|bytes| entry.raw_file_position().checked_add(bytes));
    end.ok_or_else(|| UnpackError::damaged("an entry is larger than anything"))
}

/// Older formats have no mark, and readers disagree about them.
fn require_known_format(header: &Header) -> Result<(), UnpackError> {
    if header.as_ustar().is_some() || header.as_gnu().is_some() {
        return Ok(());
    }
    Err(UnpackError::damaged(
        "an entry is neither in the ustar nor in the GNU format",
    ))
}

fn one_of(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, UnpackError> {
    if gnu.is_some() && pax.is_some() {
        return Err(UnpackError::damaged("an entry has two names"));
    }
    Ok(gnu.or(pax))
}

fn is_executable(header: &Header) -> Result<bool, UnpackError> {
    let mode = header
        .mode()
        .map_err(|_| UnpackError::damaged("an entry's mode is no number"))?;
    Ok(mode & 0o100 != 0)
}

/// The content of a GNU long name: a text that ends in NUL.
fn read_name<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, UnpackError> {
    let mut name = read_all(entry)?;
    if name.pop() != Some(b'\0') || name.len() > PATH_BYTES_MAX {
        return Err(UnpackError::damaged(
            "a long name is too long or does not end",
        ));
    }
    Ok(name)
}

fn read_all<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, UnpackError> {
    require_known_format(entry.header())?;
    let size = entry.size();
    if size > EXTENSION_BYTES_MAX {
        return Err(UnpackError::Limit(format!(
            "an extension header is larger than {EXTENSION_BYTES_MAX} bytes"
        )));
    }
    let mut data = Vec::new();
    entry
        .read_to_end(&mut data)
        .map_err(|_| UnpackError::cut_off())?;
    if data.len() as u64 != size {
        return Err(UnpackError::cut_off());
    }
    Ok(data)
}
