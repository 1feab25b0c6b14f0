//! Archives of every kind: nothing outside the directory changes, what is inside is what the report says, links stay inside, and
//! the same bytes are always the same tree. Sums that stand in headers are put right first, so that what is behind them is reached.
#![no_main]

use std::{
    fs,
    io::Write,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use libfuzzer_sys::fuzz_target;
use postern_unpack::{Kind, Limits, Report, UnpackError, unpack};

const LIMITS: Limits = Limits {
    archive_bytes_max: 1 << 20,
    entries_max: 64,
    total_bytes_max: 1 << 20,
    file_bytes_max: 1 << 19,
    depth_max: 8,
    ratio_max: 200,
};

/// A directory with a neighbour; gone when it is dropped.
struct Yard(PathBuf);

impl Yard {
    fn new() -> Self {
        let home = std::env::temp_dir().join(format!("fuzz-archive-{}", std::process::id()));
        drop(fs::remove_dir_all(&home));
        fs::create_dir_all(home.join("inside")).expect("a directory");
        fs::write(home.join("precious"), "untouched").expect("a file");
        Self(home)
    }

    fn unpack(&self, bytes: &[u8]) -> Result<Report, UnpackError> {
        let inside = fs::File::open(self.0.join("inside")).expect("a directory");
        unpack(bytes, "single", inside.as_fd(), &LIMITS)
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// All that lies there, in order: path and content, or where it leads.
fn found(way: &Path, into: &mut Vec<(PathBuf, Vec<u8>)>) {
    let mut entries: Vec<_> = fs::read_dir(way).expect("a directory").flatten().collect();
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type().expect("a kind");
        assert!(kind.is_file() || kind.is_dir() || kind.is_symlink());
        let content = if kind.is_symlink() {
            let leads = fs::canonicalize(&path).expect("it leads somewhere");
            let home = fs::canonicalize(std::env::temp_dir()).expect("a directory");
            let inside = home.join(format!("fuzz-archive-{}/inside", std::process::id()));
            assert!(leads.starts_with(inside), "{leads:?}");
            path.read_link().expect("a link").into_os_string().into_encoded_bytes()
        } else if kind.is_dir() {
            found(&path, into);
            Vec::new()
        } else {
            fs::read(&path).expect("a file")
        };
        into.push((path, content));
    }
}

/// Puts the sum of every header of tar right.
fn with_right_sums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Whether something comes before what may be a header of tar: packed once more it is nothing that is taken.
fn begins_as_another(bytes: &[u8]) -> bool {
    let is_skippable = bytes.get(1..4) == Some(b"\x2a\x4d\x18") && bytes[0] & 0xf0 == 0x50;
    let others: [&[u8]; 4] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"PK\x05\x06"];
    is_skippable || others.iter().any(|other| bytes.starts_with(other))
}

fn look_at(bytes: &[u8]) -> Result<Report, UnpackError> {
    let mut trees = Vec::new();
    let mut results = Vec::new();
    for _ in 0..2 {
        let yard = Yard::new();
        results.push(yard.unpack(bytes));
        let mut tree = Vec::new();
        found(&yard.0.join("inside"), &mut tree);
        let precious = fs::read(yard.0.join("precious")).expect("it is there");
        assert_eq!(precious, b"untouched");
        assert_eq!(fs::read_dir(&yard.0).expect("a directory").count(), 2);
        trees.push(tree);
    }
    let [first, second] = [results.remove(0), results.remove(0)];
    assert_eq!(first, second);
    if let Ok(report) = &first {
        assert_eq!(trees[0], trees[1]);
        let files: usize = trees[0].iter().map(|(_, content)| content.len()).sum();
        assert!(trees[0].len() <= 2 * LIMITS.entries_max as usize);
        // Links count for nothing, and a file with two names once.
        assert!(report.bytes <= LIMITS.total_bytes_max);
        assert!(report.kind != Kind::File || files as u64 == report.bytes);
    }
    first
}

fuzz_target!(|bytes: &[u8]| {
    let plain = look_at(bytes);
    let right = with_right_sums(bytes);
    if right != bytes {
        drop(look_at(&right));
    }
    if bytes.get(257..262) == Some(b"ustar") && !begins_as_another(bytes) {
        let packed = look_at(&gzip(&right)).map(|report| (report.entries, report.bytes));
        let right = look_at(&right).map(|report| (report.entries, report.bytes));
        assert_eq!(packed, right);
    }
    drop(plain);
});
