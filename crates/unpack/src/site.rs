//! What stands where, and how much there is: every name once, every limit kept, links last. Never touches the disk before the
//! names were checked.

use std::{io::Read, os::fd::BorrowedFd};

use crate::{
    Limits, UnpackError,
    disk::Disk,
    files::Files,
    member::{Member, What},
    names::{Names, Thing},
    place::{PATH_BYTES_MAX, Place},
};

/// How many bytes the names and targets of all links together may take.
const LINKS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The destination as it fills.
pub(crate) struct Site<'d> {
    disk: Disk<'d>,
    files: Files,
    limits: Limits,
    names: Names,
    has_root: bool,
    hard_links: Vec<(Place, Place)>,
    symbolic_links: Vec<(Place, String)>,
    links_bytes: usize,
    /// Entries of the archive, extension headers among them, and directories that were made on the way to one.
    counted: u64,
    entries: u64,
    bytes: u64,
    /// Of the file that is being filled.
    file_bytes: u64,
}

impl<'d> Site<'d> {
    pub(crate) fn new(root: BorrowedFd<'d>, limits: &Limits) -> Result<Self, UnpackError> {
        Ok(Self {
            disk: Disk::new(root),
            files: Files::new(root)?,
            limits: *limits,
            names: Names::default(),
            has_root: false,
            hard_links: Vec::new(),
            symbolic_links: Vec::new(),
            links_bytes: 0,
            counted: 0,
            entries: 0,
            bytes: 0,
            file_bytes: 0,
        })
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

    /// Checks a name and counts what will have it.
    pub(crate) fn place_of(&mut self, name: &[u8]) -> Result<Place, UnpackError> {
        let place = Place::parse(name, self.limits.depth_max)?;
        self.entries += 1;
        Ok(place)
    }

    /// Makes a member; links wait for [`Self::place_links`].
    pub(crate) fn place(
        &mut self,
        member: Member,
        content: &mut impl Read,
    ) -> Result<(), UnpackError> {
        let place = self.place_of(&member.name)?;
        match member.what {
            What::Directory => self.place_directory(&place),
            What::File {
                size,
                is_executable,
            } => {
                self.begin_file(&place, is_executable, Some(size))?;
                self.fill_file(content)?;
                if self.file_bytes != size {
                    return Err(UnpackError::cut_off());
                }
                self.end_file()
            }
            What::SymbolicLink(target) => {
                self.check_target(&place, &target)?;
                self.claim(&place, Thing::Link)?;
                self.note_symbolic_link(place, &target)
            }
            What::HardLink(target) => self.note_hard_link(place, &target),
        }
    }

    pub(crate) fn place_directory(&mut self, place: &Place) -> Result<(), UnpackError> {
        if place.is_root() {
            if std::mem::replace(&mut self.has_root, true) {
                return Err(UnpackError::clash(".", "is there twice"));
            }
            return Ok(());
        }
        self.make_way(place)?;
        if self.names.take(place, Thing::Directory)? {
            self.disk.make_directory(place)
        } else {
            Ok(())
        }
    }

    /// Takes a file's name. Without a size it is as large as it turns out to be.
    pub(crate) fn begin_file(
        &mut self,
        place: &Place,
        is_executable: bool,
        size: Option<u64>,
    ) -> Result<(), UnpackError> {
        self.file_bytes = 0;
        self.require_room(size.unwrap_or_default())?;
        self.claim(place, Thing::File)?;
        self.files
            .begin(place, is_executable, size.unwrap_or_default())
    }

    /// Fills a file with all that comes.
    pub(crate) fn fill_file(&mut self, content: &mut impl Read) -> Result<(), UnpackError> {
        loop {
            let room = self.files.room()?;
            match content.read(room) {
                Ok(0) => return Ok(()),
                Ok(count) => drop(self.wrote(count)?),
                Err(_) => return Err(UnpackError::cut_off()),
            }
        }
    }

    /// Where the next bytes of a file go; never empty.
    pub(crate) fn room(&mut self) -> Result<&mut [u8], UnpackError> {
        self.files.room()
    }

    /// Says how much of the room was used, and which bytes.
    pub(crate) fn wrote(&mut self, count: usize) -> Result<&[u8], UnpackError> {
        self.require_room(count as u64)?;
        self.file_bytes += count as u64;
        self.bytes += count as u64;
        Ok(self.files.wrote(count))
    }

    pub(crate) fn end_file(&mut self) -> Result<(), UnpackError> {
        self.files.end()
    }

    /// How much is in the file that is being filled.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Waits until all files are on disk.
    pub(crate) fn settle_files(&mut self) -> Result<(), UnpackError> {
        self.files.settle()
    }

    /// Makes a program of a file that is on disk.
    pub(crate) fn make_executable(&mut self, place: &Place) -> Result<(), UnpackError> {
        self.disk.make_executable(place)
    }

    /// Makes a symbolic link of a file that is on disk, to what is in it.
    pub(crate) fn turn_into_link(&mut self, place: Place, bytes: u64) -> Result<(), UnpackError> {
        let most = PATH_BYTES_MAX as u64 + 1;
        if bytes >= most {
            return Err(UnpackError::link(place.path(), "leads nowhere or too far"));
        }
        let target = self.disk.take_back(&place, most)?;
        self.names.turn_into_link(&place);
        self.bytes -= bytes;
        self.check_target(&place, &target)?;
        self.note_symbolic_link(place, &target)
    }

    /// Makes the links, then has the kernel follow each symbolic one.
    pub(crate) fn place_links(&mut self) -> Result<(), UnpackError> {
        self.settle_files()?;
        for (place, target) in std::mem::take(&mut self.hard_links) {
            self.disk.make_hard_link(&target, &place)?;
        }
        let links = std::mem::take(&mut self.symbolic_links);
        for (place, target) in &links {
            self.disk.make_symbolic_link(target, place)?;
        }
        links
            .iter()
            .try_for_each(|(place, _)| self.disk.leads_inside(place))
    }

    /// Whether so many bytes more may come.
    fn require_room(&self, bytes: u64) -> Result<(), UnpackError> {
        let limit = self.limits.file_bytes_max;
        if self.file_bytes.saturating_add(bytes) > limit {
            return Err(UnpackError::Limit(format!(
                "a file is larger than {limit} bytes"
            )));
        }
        let limit = self.limits.total_bytes_max;
        if self.bytes.saturating_add(bytes) > limit {
            return Err(UnpackError::Limit(format!(
                "all files are larger than {limit} bytes"
            )));
        }
        Ok(())
    }

    fn check_target(&self, place: &Place, target: &[u8]) -> Result<(), UnpackError> {
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
        Ok(())
    }

    fn note_symbolic_link(&mut self, place: Place, target: &[u8]) -> Result<(), UnpackError> {
        let target = String::from_utf8_lossy(target).into_owned();
        self.count_link(place.path().len() + target.len())?;
        self.symbolic_links.push((place, target));
        Ok(())
    }

    fn note_hard_link(&mut self, place: Place, target: &[u8]) -> Result<(), UnpackError> {
        let target = Place::parse(target, self.limits.depth_max)?;
        if !self.names.is_file(&target) {
            return Err(UnpackError::link(
                place.path(),
                "is to no file of this archive that came before",
            ));
        }
        self.claim(&place, Thing::File)?;
        self.count_link(place.path().len() + target.path().len())?;
        self.hard_links.push((place, target));
        Ok(())
    }

    /// Takes a name for something that is no directory, and makes the directories above.
    fn claim(&mut self, place: &Place, thing: Thing) -> Result<(), UnpackError> {
        if place.is_root() {
            return Err(UnpackError::name(".", "is the directory itself"));
        }
        self.make_way(place)?;
        self.names.take(place, thing).map(|_| ())
    }

    fn make_way(&mut self, place: &Place) -> Result<(), UnpackError> {
        if self.names.is_beside_the_last(place) {
            return Ok(());
        }
        for directory in place.ancestors() {
            if self.names.take(&directory, Thing::PassedDirectory)? {
                // One header can name as many directories as a path is deep: each costs as much as an entry of its own.
                self.count_entry()?;
                self.disk.make_directory(&directory)?;
            }
        }
        self.names.note_parent(place);
        Ok(())
    }

    fn count_link(&mut self, bytes: usize) -> Result<(), UnpackError> {
        self.links_bytes += bytes;
        if self.links_bytes > LINKS_BYTES_MAX {
            return Err(UnpackError::Limit(format!(
                "the names of its links take more than {LINKS_BYTES_MAX} bytes"
            )));
        }
        Ok(())
    }
}
