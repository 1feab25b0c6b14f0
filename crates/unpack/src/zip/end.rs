//! The end of a zip archive: where its directory is and how long, once or twice, and then nothing more. Never takes one that
//! points anywhere but at what was just read.

use std::io::Read;

use super::{END, END_64, LOCATOR_64, directory::Rest, fields::Fields, record::Reader};
use crate::UnpackError;

/// How much follows the size of the long end.
const LONG_BYTES: u64 = 44;

/// Reads the end, whose first mark was read.
pub(super) fn check<R: Read>(rest: &Rest, reader: &mut Reader<R>) -> Result<(), UnpackError> {
    let is_long = rest.mark == END_64;
    let mark = if is_long {
        check_long(rest, reader)?;
        reader.mark()?
    } else {
        rest.mark
    };
    if mark != END {
        return Err(UnpackError::damaged(
            "something stands where the end of its directory should be",
        ));
    }
    let fixed: [u8; 18] = reader.array()?;
    let mut fields = Fields(&fixed);
    let (disk, from_disk) = (fields.u16(), fields.u16());
    let counts = [fields.u16(), fields.u16()];
    let (bytes, from) = (fields.u32(), fields.u32());
    let agree =
        |short: u32, most: u32, long: u64| u64::from(short) == long || (is_long && short == most);
    let is_well = counts
        .iter()
        .all(|count| agree((*count).into(), u16::MAX.into(), rest.entries))
        && agree(bytes, u32::MAX, rest.bytes)
        && agree(from, u32::MAX, rest.from)
        && [disk, from_disk]
            .iter()
            .all(|disk| agree((*disk).into(), u16::MAX.into(), 0));
    if !is_well {
        return Err(lies());
    }
    let comment = reader.bytes(fields.u16())?;
    // A mark may begin in what stands before the comment: whoever looks for it from behind would find that one.
    let behind = [fixed.as_slice(), &comment].concat();
    if behind.windows(4).any(|four| four == END) {
        return Err(UnpackError::damaged(
            "its comment hides another end of the archive",
        ));
    }
    if reader.is_at_end()? {
        Ok(())
    } else {
        Err(UnpackError::Trailing(
            "bytes after the end of the zip archive".to_owned(),
        ))
    }
}

fn check_long<R: Read>(rest: &Rest, reader: &mut Reader<R>) -> Result<(), UnpackError> {
    let at = reader.position().saturating_sub(4);
    let fixed: [u8; 52] = reader.array()?;
    let mut fields = Fields(&fixed);
    let size = fields.u64();
    let _versions = fields.u32();
    let disks = (fields.u32(), fields.u32());
    let counts = [fields.u64(), fields.u64()];
    let (bytes, from) = (fields.u64(), fields.u64());
    if size != LONG_BYTES
        || disks != (0, 0)
        || counts != [rest.entries; 2]
        || (bytes, from) != (rest.bytes, rest.from)
    {
        return Err(lies());
    }
    if reader.mark()? != LOCATOR_64 {
        return Err(UnpackError::damaged("the locator of its end is missing"));
    }
    let fixed: [u8; 16] = reader.array()?;
    let mut fields = Fields(&fixed);
    let (disk, points_at, disks) = (fields.u32(), fields.u64(), fields.u32());
    if disk != 0 || disks > 1 || points_at != at {
        return Err(lies());
    }
    Ok(())
}

fn lies() -> UnpackError {
    UnpackError::damaged("its end says something else of its directory than stands there")
}
