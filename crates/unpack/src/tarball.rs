//! The entries of a tar archive, one after the other. Never goes on after one that is not sound.

use std::io::Read;

use crate::{
    Kind, Limits, UnpackError,
    kind::Looks,
    member::{self, Extensions, Member},
    packed::Packed,
    site::Site,
    source::Source,
};

/// Places all of an archive, and says what it was and what its bytes hash to.
pub(crate) fn unpack<R: Read>(
    packed: Packed<R>,
    looks: Looks,
    (site, limits): (&mut Site<'_>, &Limits),
) -> Result<(Kind, String), UnpackError> {
    let mut source = Source::open(packed, looks, limits)?;
    let end = place_members(&mut source, site)?;
    site.place_links()?;
    let kind = source.kind();
    Ok((kind, source.finish(end)?))
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
