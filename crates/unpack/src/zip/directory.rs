//! The directory of a zip archive: it must say of every entry, in order, what was found of it, and it alone says what is a program
//! or a link. Never adds an entry and never drops one.

use std::io::Read;

use super::{
    LISTED, LOCATOR_64,
    extra::{ELSEWHERE, Extra},
    fields::Fields,
    record::{Met, Reader, mark_of},
};
use crate::{UnpackError, place::Place, site::Site};

/// Systems whose attributes are those of Unix: Unix and Darwin.
const UNIX: &[u8] = &[3, 19];

/// Attributes of DOS: it is a directory.
const DOS_DIRECTORY: u32 = 0x10;

/// Kinds of files in Unix's mode.
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const LINK: u32 = 0o120_000;
const FIFO: u32 = 0o010_000;
const EXECUTABLE: u32 = 0o100;

/// What must stand at the end.
pub(super) struct Rest {
    /// How the next record begins.
    pub(super) mark: [u8; 4],
    pub(super) entries: u64,
    pub(super) from: u64,
    pub(super) bytes: u64,
}

/// A line of the directory.
struct Listed {
    name: Vec<u8>,
    met: Met,
    system: u8,
    attributes: u32,
}

/// Reads the directory, whose first mark was read, and makes programs and links of what it says are such.
pub(super) fn compare<R: Read>(
    mut mark: [u8; 4],
    (met, from): (&[Met], u64),
    reader: &mut Reader<R>,
    site: &mut Site<'_>,
) -> Result<Rest, UnpackError> {
    for met in met {
        if mark != LISTED {
            return Err(UnpackError::damaged(
                "an entry is not in its directory, or something stands between entries",
            ));
        }
        let listed = Listed::read(reader)?;
        listed.compare(met)?;
        listed.apply(site)?;
        mark = reader.mark()?;
    }
    if mark == LISTED {
        let listed = Listed::read(reader)?;
        return Err(listed.refuse("is in the directory, but not in the archive"));
    }
    let bytes = reader.position().saturating_sub(from + 4);
    let entries = met.len() as u64;
    Ok(Rest {
        mark,
        entries,
        from,
        bytes,
    })
}

impl Listed {
    fn read<R: Read>(reader: &mut Reader<R>) -> Result<Self, UnpackError> {
        let fixed: [u8; 42] = reader.array()?;
        let mut fields = Fields(&fixed);
        let [_, system] = fields.u16().to_le_bytes();
        let _needed = fields.u16();
        let (flags, method) = (fields.u16(), fields.u16());
        let _time = fields.u32();
        let (sum, packed, size) = (fields.u32(), fields.u32(), fields.u32());
        let (name, extra, comment) = (fields.u16(), fields.u16(), fields.u16());
        let (disk, _internal) = (fields.u16(), fields.u16());
        let (attributes, at) = (fields.u32(), fields.u32());
        let (name, extra) = (reader.bytes(name)?, reader.bytes(extra)?);
        let comment = reader.bytes(comment)?;
        let behind = [name.as_slice(), &extra, &comment].concat();
        let met = Met {
            at: at.into(),
            name: mark_of(&name),
            flags,
            method,
            sum,
            packed: packed.into(),
            size: size.into(),
        };
        let mut listed = Self {
            name,
            met,
            system,
            attributes,
        };
        if disk != 0 {
            return Err(listed.refuse("is on another disk"));
        }
        if behind.windows(4).any(|four| four == LOCATOR_64) {
            return Err(listed.refuse("hides another end of the archive in a comment"));
        }
        let extra = Extra::read(&extra, &listed.name)?;
        listed.lengthen(extra.long.unwrap_or_default(), (size, packed, at))?;
        Ok(listed)
    }

    /// Takes numbers of 64 bits for those that stand elsewhere, in their order, and no others.
    fn lengthen(
        &mut self,
        long: &[u8],
        (size, packed, at): (u32, u32, u32),
    ) -> Result<(), UnpackError> {
        let wanted = [size, packed, at].map(|short| short == ELSEWHERE);
        if long.len() != 8 * wanted.iter().filter(|is| **is).count() {
            return Err(self.refuse("has long sizes that do not fit the short ones"));
        }
        let mut fields = Fields(long);
        let places = [&mut self.met.size, &mut self.met.packed, &mut self.met.at];
        for (place, _) in places.into_iter().zip(wanted).filter(|(_, is)| *is) {
            *place = fields.u64();
        }
        Ok(())
    }

    fn compare(&self, met: &Met) -> Result<(), UnpackError> {
        let listed = &self.met;
        let differ = |what: &str| {
            Err(self.refuse(&format!(
                "has another {what} in the directory than in the archive"
            )))
        };
        if listed.name != met.name {
            return differ("name");
        }
        if listed.at != met.at {
            return differ("place");
        }
        if (listed.packed, listed.size) != (met.packed, met.size) {
            return differ("size");
        }
        if listed.sum != met.sum {
            return differ("checksum");
        }
        if (listed.flags, listed.method) != (met.flags, met.method) {
            return differ("method or flag");
        }
        Ok(())
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), UnpackError> {
        let shown = String::from_utf8_lossy(&self.name);
        let is_directory = self.name.ends_with(b"/");
        let mode = self.attributes >> 16;
        match mode & KIND {
            _ if self.attributes & DOS_DIRECTORY != 0 && !is_directory => {
                return Err(self.refuse("is a directory by its attributes and a file by its name"));
            }
            0 | REGULAR if !is_directory => {}
            0 | DIRECTORY if is_directory => return Ok(()),
            REGULAR | DIRECTORY => {
                return Err(self.refuse("is another thing by its attributes than by its name"));
            }
            LINK if !is_directory && UNIX.contains(&self.system) => {
                let place = Place::parse(&self.name, usize::MAX)?;
                return site.turn_into_link(place, self.met.size);
            }
            LINK => return Err(self.refuse("is a link for some readers and a file for others")),
            FIFO => return Err(UnpackError::forbidden(&shown, "a FIFO")),
            _ => return Err(UnpackError::forbidden(&shown, "a device or a socket")),
        }
        if mode & EXECUTABLE != 0 && UNIX.contains(&self.system) {
            site.make_executable(&Place::parse(&self.name, usize::MAX)?)?;
        }
        Ok(())
    }

    fn refuse(&self, why: &str) -> UnpackError {
        UnpackError::entry(&String::from_utf8_lossy(&self.name), why)
    }
}
