//! A zip archive, read once and front to back, so that nothing in it can be hidden, lie twice or overlap: the entries one after
//! the other from the first byte on, then the directory, which must say the same of each in the same order, then the end. Never
//! takes an archive that can be read in two ways.

mod directory;
mod end;
mod entry;
mod extra;
mod fields;
mod record;

use std::io::Read;

use crate::{Limits, UnpackError, packed::Packed, site::Site};
use entry::Inflater;
use record::{Met, Reader};

/// How the records begin.
const ENTRY: [u8; 4] = *b"PK\x03\x04";
const LISTED: [u8; 4] = *b"PK\x01\x02";
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const END: [u8; 4] = *b"PK\x05\x06";
const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";

/// Places all of an archive, and says what its bytes hash to.
pub(crate) fn unpack<R: Read>(
    packed: Packed<R>,
    (site, limits): (&mut Site<'_>, &Limits),
) -> Result<String, UnpackError> {
    let mut reader = Reader::new(packed);
    let mut inflater = Inflater::new(limits, reader.trouble());
    let mut met: Vec<Met> = Vec::new();
    let mut start = reader.position();
    let mut mark = reader.mark()?;
    while mark == ENTRY {
        site.count_entry()?;
        met.push(inflater.place(start, &mut reader, site)?);
        start = reader.position();
        mark = reader.mark()?;
    }
    site.settle_files()?;
    let rest = directory::compare(mark, (&met, start), &mut reader, site)?;
    site.place_links()?;
    end::check(&rest, &mut reader)?;
    reader.into_digest()
}
