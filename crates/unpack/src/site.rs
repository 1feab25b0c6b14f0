//! What stands where, and how much there is: every name once, every limit kept, links last. Never touches the disk before the
//! names were checked.

use std::{
    collections::{HashMap, hash_map::Entry as Slot},
    io::Read,
};

use crate::{
    Limits, UnpackError,
    disk::{Disk, copy, settle},
    member::{Member, What, cut_off},
    place::{PATH_BYTES_MAX, Place},
};

/// How many bytes all names together may take.
const NAMES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The destination as it fills.
pub(crate) struct Site<'d> {
    disk: Disk<'d>,
    limits: Limits,
    /// By the name as a file system that ignores case would see it.
    taken: HashMap<String, Taken>,
    names_bytes: usize,
    has_root: bool,
    symbolic_links: Vec<(Place, String)>,
    /// Entries of the archive, extension headers among them, and directories that were made on the way to one.
    counted: u64,
    entries: u64,
    bytes: u64,
}

/// What has a name.
struct Taken {
    /// The last component as it is written.
    name: Box<str>,
    by: Thing,
}

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    /// A directory that was only named on the way to something.
    PassedDirectory,
    Directory,
    File,
    Link,
}

impl<'d> Site<'d> {
    pub(crate) fn new(disk: Disk<'d>, limits: &Limits) -> Self {
        Self {
            disk,
            limits: *limits,
            taken: HashMap::new(),
            names_bytes: 0,
            has_root: false,
            symbolic_links: Vec::new(),
            counted: 0,
            entries: 0,
            bytes: 0,
        }
    }

    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts a header, whatever it is, or a directory that no header was counted for yet.
    pub(crate) fn count_entry(&mut self) -> Result<(), UnpackError> {
        self.counted += 1;
        if self.counted > self.limits.entries_max {
            return Err(UnpackError::Limit(format!(
                "more than {} entries",
                self.limits.entries_max
            )));
        }
        Ok(())
    }

    /// Makes a member; symbolic links wait for [`Self::place_links`].
    pub(crate) fn place(
        &mut self,
        member: Member,
        content: &mut impl Read,
    ) -> Result<(), UnpackError> {
        let place = Place::parse(&member.name, self.limits.depth_max)?;
        self.entries += 1;
        match member.what {
            What::Directory => self.place_directory(&place),
            What::File {
                size,
                is_executable,
            } => self.place_file(&place, (size, is_executable), content),
            What::SymbolicLink(target) => self.note_symbolic_link(place, &target),
            What::HardLink(target) => self.place_hard_link(&place, &target),
        }
    }

    /// Makes the symbolic links, then has the kernel follow each.
    pub(crate) fn place_links(&mut self) -> Result<(), UnpackError> {
        let links = std::mem::take(&mut self.symbolic_links);
        for (place, target) in &links {
            self.disk.make_symbolic_link(target, place)?;
        }
        links
            .iter()
            .try_for_each(|(place, _)| self.disk.leads_inside(place))
    }

    fn place_directory(&mut self, place: &Place) -> Result<(), UnpackError> {
        if place.is_root() {
            if std::mem::replace(&mut self.has_root, true) {
                return Err(UnpackError::clash(".", "is there twice"));
            }
            return Ok(());
        }
        self.make_way(place)?;
        if self.take(place, Thing::Directory)? {
            self.disk.make_directory(place)
        } else {
            Ok(())
        }
    }

    fn place_file(
        &mut self,
        place: &Place,
        (size, is_executable): (u64, bool),
        content: &mut impl Read,
    ) -> Result<(), UnpackError> {
        if size > self.limits.file_bytes_max {
            let limit = self.limits.file_bytes_max;
            return Err(UnpackError::Limit(format!(
                "a file is larger than {limit} bytes"
            )));
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.total_bytes_max {
            let limit = self.limits.total_bytes_max;
            return Err(UnpackError::Limit(format!(
                "all files are larger than {limit} bytes"
            )));
        }
        self.claim(place, Thing::File)?;
        let mut file = self.disk.create_file(place)?;
        if copy(content, &mut file, size)? != size {
            return Err(cut_off());
        }
        settle(&file, is_executable)
    }

    fn note_symbolic_link(&mut self, place: Place, target: &[u8]) -> Result<(), UnpackError> {
        let refuse = |why: &str| Err(UnpackError::link(place.path(), why));
        let Ok(target) = std::str::from_utf8(target) else {
            return refuse("leads to a name that is not UTF-8");
        };
        if target.is_empty() || target.len() > PATH_BYTES_MAX {
            return refuse("leads nowhere or too far");
        }
        if target.starts_with('/') {
            return refuse("leads to an absolute path");
        }
        if target.contains(|c: char| c == '\\' || c.is_control()) {
            return refuse("has a backslash or a control character in its target");
        }
        self.claim(&place, Thing::Link)?;
        self.count_bytes(target.len())?;
        self.symbolic_links.push((place, target.to_owned()));
        Ok(())
    }

    fn place_hard_link(&mut self, place: &Place, target: &[u8]) -> Result<(), UnpackError> {
        let target = Place::parse(target, self.limits.depth_max)?;
        if !self.is_file(&target) {
            return Err(UnpackError::link(
                place.path(),
                "is to no file of this archive that came before",
            ));
        }
        self.claim(place, Thing::File)?;
        self.disk.make_hard_link(&target, place)
    }

    /// Whether a file stands exactly there, to the letter.
    fn is_file(&self, place: &Place) -> bool {
        let stands = |place: &Place| {
            self.taken
                .get(&place.folded())
                .filter(|taken| *taken.name == *place.name())
        };
        stands(place).is_some_and(|taken| taken.by == Thing::File)
            && place
                .ancestors()
                .all(|directory| stands(&directory).is_some())
    }

    /// Takes a name for something that is no directory, and makes the directories above.
    fn claim(&mut self, place: &Place, thing: Thing) -> Result<(), UnpackError> {
        if place.is_root() {
            return Err(UnpackError::name(".", "is the directory itself"));
        }
        self.make_way(place)?;
        self.take(place, thing).map(|_| ())
    }

    fn make_way(&mut self, place: &Place) -> Result<(), UnpackError> {
        for directory in place.ancestors() {
            if self.take(&directory, Thing::PassedDirectory)? {
                // One header can name as many directories as a path is deep: each costs as much as an entry of its own.
                self.count_entry()?;
                self.disk.make_directory(&directory)?;
            }
        }
        Ok(())
    }

    /// Takes a name; false if it is a directory that is there already and may be.
    fn take(&mut self, place: &Place, thing: Thing) -> Result<bool, UnpackError> {
        let folded = place.folded();
        let folded_bytes = folded.len();
        match self.taken.entry(folded) {
            Slot::Vacant(slot) => {
                slot.insert(Taken {
                    name: place.name().into(),
                    by: thing,
                });
                self.count_bytes(folded_bytes + place.name().len())?;
                Ok(true)
            }
            Slot::Occupied(mut slot) => {
                let taken = slot.get_mut();
                if *taken.name != *place.name() {
                    return Err(UnpackError::clash(
                        place.path(),
                        "differs from another name in case or Unicode form alone",
                    ));
                }
                match (taken.by, thing) {
                    (Thing::PassedDirectory | Thing::Directory, Thing::PassedDirectory) => {}
                    (Thing::PassedDirectory, Thing::Directory) => taken.by = Thing::Directory,
                    (Thing::File | Thing::Link, Thing::PassedDirectory) => {
                        return Err(UnpackError::clash(
                            place.path(),
                            "is used as a directory but is none",
                        ));
                    }
                    _ => return Err(UnpackError::clash(place.path(), "is there twice")),
                }
                Ok(false)
            }
        }
    }

    fn count_bytes(&mut self, bytes: usize) -> Result<(), UnpackError> {
        self.names_bytes += bytes;
        if self.names_bytes > NAMES_BYTES_MAX {
            return Err(UnpackError::Limit(format!(
                "its names take more than {NAMES_BYTES_MAX} bytes"
            )));
        }
        Ok(())
    }
}
