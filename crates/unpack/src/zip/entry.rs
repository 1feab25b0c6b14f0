//! One entry where it stands: its header, its bytes, and what stands behind them. Never believes a size: each is measured.

use std::io::Read;

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::{
    DESCRIPTOR,
    extra::{ELSEWHERE, Extra},
    fields::Fields,
    record::{Met, Reader, mark_of},
};
use crate::{Limits, UnpackError, error::shown, packed::Ratio, site::Site, trouble::Trouble};

/// Flags that mean something here: how well it was deflated, that sizes stand behind, that the name is UTF-8.
const SIZES_BEHIND: u16 = 1 << 3;
const UTF8: u16 = 1 << 11;
const KNOWN_FLAGS: u16 = 0b110 | SIZES_BEHIND | UTF8;

/// Flags of encryption: of the content, strong, of the directory.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// Inflates entries, one after the other.
pub(super) struct Inflater {
    state: Decompress,
    ratio: Ratio,
    trouble: Trouble,
}

/// An entry's own header.
struct Header {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    sum: u32,
    packed: u64,
    size: u64,
    /// Whether numbers of 64 bits stand behind.
    is_long: bool,
}

/// What was found in an entry.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    sum: u32,
    packed: u64,
    size: u64,
}

impl Inflater {
    pub(super) fn new(limits: &Limits, trouble: Trouble) -> Self {
        Self {
            state: Decompress::new(false),
            ratio: Ratio::new(limits, trouble.clone()),
            trouble,
        }
    }

    /// Reads an entry whose mark was read, and places it as what it looks like: the directory may make a link of it, or a program.
    pub(super) fn place<R: Read>(
        &mut self,
        at: u64,
        reader: &mut Reader<R>,
        site: &mut Site<'_>,
    ) -> Result<Met, UnpackError> {
        let header = Header::read(reader)?;
        let place = site.place_of(&header.name)?;
        let is_directory = header.name.ends_with(b"/");
        let known = (!header.has_sizes_behind()).then_some(header.size);
        if is_directory {
            site.place_directory(&place)?;
        } else {
            site.begin_file(&place, false, known)?;
        }
        let found = match header.method {
            STORED => self.copy(&header, reader, site)?,
            _ if is_directory => self.inflate_nothing(&header, reader)?,
            _ => self.inflate(&header, reader, site)?,
        };
        if !is_directory {
            site.end_file()?;
        }
        header.compare(&found, reader)?;
        Ok(Met {
            at,
            name: mark_of(&header.name),
            flags: header.flags,
            method: header.method,
            sum: found.sum,
            packed: found.packed,
            size: found.size,
        })
    }

    fn copy<R: Read>(
        &mut self,
        header: &Header,
        reader: &mut Reader<R>,
        site: &mut Site<'_>,
    ) -> Result<Found, UnpackError> {
        let mut sum = Crc::new();
        let mut left = header.size;
        if left > 0 && header.name.ends_with(b"/") {
            return Err(header.refuse("is a directory with content"));
        }
        while left > 0 {
            let ready = reader.ready()?;
            let room = site.room()?;
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let count = ready.len().min(room.len()).min(most);
            room[..count].copy_from_slice(&ready[..count]);
            sum.update(site.wrote(count)?);
            reader.consume(count);
            left -= count as u64;
        }
        Ok(Found {
            sum: sum.sum(),
            packed: header.size,
            size: header.size,
        })
    }

    fn inflate<R: Read>(
        &mut self,
        header: &Header,
        reader: &mut Reader<R>,
        site: &mut Site<'_>,
    ) -> Result<Found, UnpackError> {
        self.state.reset(false);
        let mut sum = Crc::new();
        loop {
            let (ready, room) = (reader.ready()?, site.room()?);
            let (used, came, ended) = self.step(header, ready, room)?;
            sum.update(site.wrote(came)?);
            reader.consume(used);
            if ended {
                return Ok(Found {
                    sum: sum.sum(),
                    packed: self.state.total_in(),
                    size: site.file_bytes(),
                });
            }
        }
    }

    /// Some writers deflate even the nothing that is in a directory.
    fn inflate_nothing<R: Read>(
        &mut self,
        header: &Header,
        reader: &mut Reader<R>,
    ) -> Result<Found, UnpackError> {
        self.state.reset(false);
        let mut room = [0; 1];
        loop {
            let (used, came, ended) = self.step(header, reader.ready()?, &mut room)?;
            if came > 0 {
                return Err(header.refuse("is a directory with content"));
            }
            reader.consume(used);
            if ended {
                return Ok(Found {
                    sum: 0,
                    packed: self.state.total_in(),
                    size: 0,
                });
            }
        }
    }

    /// Inflates some bytes, and says how many were used, how many came, and whether that was all.
    fn step(
        &mut self,
        header: &Header,
        ready: &[u8],
        room: &mut [u8],
    ) -> Result<(usize, usize, bool), UnpackError> {
        let (before, came) = (self.state.total_in(), self.state.total_out());
        let known = (!header.has_sizes_behind()).then_some(header.packed);
        let left = known.map_or(u64::MAX, |packed| packed.saturating_sub(before));
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let ready = &ready[..ready.len().min(most)];
        let status = self.state.decompress(ready, room, FlushDecompress::None);
        let status = status.map_err(|_| header.refuse("does not inflate"))?;
        let count = |from: u64, to: u64| usize::try_from(to - from).unwrap_or(usize::MAX);
        let used = count(before, self.state.total_in());
        let came = count(came, self.state.total_out());
        self.ratio.count(came).map_err(|e| self.trouble.of(&e))?;
        let ended = status == Status::StreamEnd;
        if !ended && (used, came) == (0, 0) {
            return Err(header.refuse("inflates to more than it says, or does not end"));
        }
        Ok((used, came, ended))
    }
}

impl Header {
    fn read<R: Read>(reader: &mut Reader<R>) -> Result<Self, UnpackError> {
        let fixed: [u8; 26] = reader.array()?;
        let mut fields = Fields(&fixed);
        let _version = fields.u16();
        let (flags, method) = (fields.u16(), fields.u16());
        let _time = fields.u32();
        let (sum, packed, size) = (fields.u32(), fields.u32(), fields.u32());
        let (name, extra) = (fields.u16(), fields.u16());
        let (name, extra) = (reader.bytes(name)?, reader.bytes(extra)?);
        let extra = Extra::read(&extra, &name)?;
        let mut header = Self {
            name,
            flags,
            method,
            sum,
            packed: packed.into(),
            size: size.into(),
            is_long: extra.long.is_some(),
        };
        if let Some(long) = extra.long {
            header.lengthen(long, (packed, size))?;
        } else if packed == ELSEWHERE || size == ELSEWHERE {
            return Err(header.refuse("says that its sizes stand elsewhere, and they do not"));
        }
        header.check()?;
        Ok(header)
    }

    /// Takes the sizes of 64 bits, which must be those of 32 bits where there are any.
    fn lengthen(&mut self, long: &[u8], (packed, size): (u32, u32)) -> Result<(), UnpackError> {
        if long.len() != 16 {
            return Err(self.refuse("has long sizes of a wrong length"));
        }
        let mut fields = Fields(long);
        let (long_size, long_packed) = (fields.u64(), fields.u64());
        let agree = |short: u32, long: u64| short == ELSEWHERE || u64::from(short) == long;
        if !agree(size, long_size) || !agree(packed, long_packed) {
            return Err(self.refuse("has two sizes"));
        }
        (self.size, self.packed) = (long_size, long_packed);
        Ok(())
    }

    fn check(&self) -> Result<(), UnpackError> {
        let shown = String::from_utf8_lossy(&self.name);
        if self.flags & ENCRYPTED != 0 {
            return Err(UnpackError::forbidden(&shown, "encrypted"));
        }
        if self.flags & !KNOWN_FLAGS != 0 {
            return Err(self.refuse("has flags that are not known"));
        }
        if !matches!(self.method, STORED | DEFLATED) {
            let what = format!("packed by method {}", self.method);
            return Err(UnpackError::forbidden(&shown, &what));
        }
        if self.flags & UTF8 == 0 && !self.name.is_ascii() {
            return Err(UnpackError::name(
                &shown,
                "is neither ASCII nor marked as UTF-8",
            ));
        }
        if self.method == STORED && self.packed != self.size {
            return Err(self.refuse("is stored, but its two sizes differ"));
        }
        Ok(())
    }

    fn has_sizes_behind(&self) -> bool {
        self.flags & SIZES_BEHIND != 0
    }

    /// Holds what was found against what stands before and behind it.
    fn compare<R: Read>(&self, found: &Found, reader: &mut Reader<R>) -> Result<(), UnpackError> {
        let said = Found {
            sum: self.sum,
            packed: self.packed,
            size: self.size,
        };
        if !self.has_sizes_behind() {
            return if said == *found {
                Ok(())
            } else {
                Err(self.refuse("is not what its header says: its size or its checksum differs"))
            };
        }
        let is_silent = |said: u64, found: u64| said == 0 || said == found;
        if !is_silent(said.size, found.size)
            || !is_silent(said.packed, found.packed)
            || !is_silent(said.sum.into(), found.sum.into())
        {
            return Err(self.refuse("has two sizes or checksums, before it and behind it"));
        }
        if self.behind(reader)? == *found {
            return Ok(());
        }
        Err(self.refuse(if self.method == STORED {
            "is stored without saying before how large it is"
        } else {
            "is not what stands behind it: its size or its checksum differs"
        }))
    }

    fn behind<R: Read>(&self, reader: &mut Reader<R>) -> Result<Found, UnpackError> {
        let missing = "is not followed by its size, as it says";
        if self.method == STORED && reader.ready()?.first() != Some(&DESCRIPTOR[0]) {
            return Err(self.refuse("is stored without saying before how large it is"));
        }
        if reader.mark()? != DESCRIPTOR {
            return Err(self.refuse(missing));
        }
        let sum = u32::from_le_bytes(reader.array()?);
        let (packed, size) = if self.is_long {
            let both: [u8; 16] = reader.array()?;
            let mut fields = Fields(&both);
            (fields.u64(), fields.u64())
        } else {
            let both: [u8; 8] = reader.array()?;
            let mut fields = Fields(&both);
            (fields.u32().into(), fields.u32().into())
        };
        Ok(Found { sum, packed, size })
    }

    fn refuse(&self, why: &str) -> UnpackError {
        let name = shown(&String::from_utf8_lossy(&self.name));
        UnpackError::Damaged(format!("`{name}` {why}"))
    }
}
