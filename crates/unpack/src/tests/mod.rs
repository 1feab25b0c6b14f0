//! Archives good and hostile, built by hand; whatever they are, nothing outside the destination changes.

mod build;
mod good;
mod hostile;
mod mangled;
mod readers;
mod zips;

use std::{
    fs,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::PathBuf,
};

use crate::{Kind, Limits, Report, UnpackError, unpack};
use build::{Archive, gzip, zstd};
use zips::Zip;

/// A destination with a neighbour that must stay as it is.
struct Yard {
    home: tempfile::TempDir,
}

impl Yard {
    fn new() -> Self {
        // Thousands are made and deleted: in memory, where there is such a place.
        let home = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let home = home.unwrap();
        fs::create_dir(home.path().join("inside")).unwrap();
        fs::create_dir(home.path().join("outside")).unwrap();
        fs::write(home.path().join("outside/precious"), "untouched").unwrap();
        Self { home }
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.home.path().join("inside").join(path)
    }

    fn unpack(&self, bytes: &[u8]) -> Result<Report, UnpackError> {
        self.unpack_with(bytes, &Limits::default())
    }

    fn unpack_with(&self, bytes: &[u8], limits: &Limits) -> Result<Report, UnpackError> {
        let destination = fs::File::open(self.inside("")).unwrap();
        let result = unpack(bytes, "single.bin", destination.as_fd(), limits);
        self.assert_neighbour_untouched();
        result
    }

    fn assert_neighbour_untouched(&self) {
        let mut names: Vec<_> = fs::read_dir(self.home.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["inside", "outside"]);
        assert_eq!(
            fs::read_dir(self.home.path().join("outside"))
                .unwrap()
                .count(),
            1
        );
        let precious = self.home.path().join("outside/precious");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "untouched");
        let meta = fs::metadata(&precious).unwrap();
        assert_eq!((meta.nlink(), meta.mode() & 0o7777 & !0o022), (1, 0o644));
    }

    fn mode(&self, path: &str) -> u32 {
        fs::symlink_metadata(self.inside(path)).unwrap().mode() & 0o7777
    }
}

/// The error of an archive that must be refused, plain and packed alike.
fn refused(archive: &Archive) -> UnpackError {
    let error = Yard::new().unpack(&archive.end()).unwrap_err();
    for packed in [gzip(&archive.end()), zstd(&archive.end())] {
        assert_eq!(Yard::new().unpack(&packed).unwrap_err(), error);
    }
    error
}
