//! Our reading beside other programs': what GNU tar, bsdtar and Python's modules make of archives that were built by rule and then
//! changed by chance. What two of them read differently is refused, and what is taken is what all of them read that take it.
//! `PROPTEST_CASES` says twice how many archives there are of each kind.

use std::{collections::BTreeMap, path::Path, process::Command};

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};

use super::*;

/// What a reader finds: path, kind, size, target.
type Listing = Vec<(String, String, u64, String)>;

const NAMES: &[&str] = &[
    "a",
    "b",
    "d/",
    "d/a",
    "./b",
    "d/../a",
    "/a",
    "A",
    "d//a",
    "deep/er/c",
    "ü",
    "a/x",
    "d",
];
const TARGETS: &[&str] = &[
    "a",
    "b",
    "d/a",
    "../x",
    "/nowhere/at/all",
    "d",
    "gone",
    "./a",
    "",
];

/// One step of building a tar archive.
#[derive(Debug, Clone)]
struct Step {
    kind: u8,
    name: &'static str,
    other: &'static str,
    content: String,
    /// Bytes of the header that are other than they should be; the checksum is right all the same.
    changes: Vec<(usize, u8)>,
}

fn step() -> impl Strategy<Value = Step> {
    let kinds = b"00000055512LKxxgS37";
    let bytes = prop::sample::select(b"\0\x007 x0155/\x80".to_vec());
    // The size, the kind, the mark, the prefix: where formats differ.
    let places = prop_oneof![
        124..136_usize,
        156..157_usize,
        257..265_usize,
        345..350_usize
    ];
    let changes = prop_oneof![
        4 => Just(Vec::new()),
        1 => prop::collection::vec((places, bytes), 1..3),
    ];
    let kind = prop::sample::select(kinds.to_vec());
    let name = || prop::sample::select(NAMES.to_vec());
    let other = prop::sample::select(TARGETS.to_vec());
    (kind, name(), other, "[xy]{0,9}", changes).prop_map(|(kind, name, other, content, changes)| {
        Step {
            kind,
            name,
            other,
            content,
            changes,
        }
    })
}

fn tar_of(steps: &[Step]) -> Vec<u8> {
    let archive = steps.iter().fold(Archive::default(), |archive, step| {
        let Step {
            kind,
            name,
            other,
            content,
            changes,
        } = step;
        let sized = format!("{}", content.len() + other.len() % 2);
        match kind {
            b'L' | b'K' => archive.entry(*kind, b"long", b"", format!("{name}\0").as_bytes()),
            b'x' if other.is_empty() => archive.pax(&[("size", &sized)]),
            b'x' if other.starts_with('d') => archive.pax(&[("path", name), ("path", other)]),
            b'x' => archive.pax(&[("path", name), ("mtime", "1.5")]),
            b'g' => archive.entry(b'g', b"g", b"", &build::pax_records(&[("comment", other)])),
            b'0' if !changes.is_empty() => archive.changed(
                name.as_bytes(),
                |header| {
                    for (at, byte) in changes {
                        header.as_mut_bytes()[*at] = *byte;
                    }
                },
                content.as_bytes(),
            ),
            b'0' => archive.file(name, content),
            _ => archive.entry(*kind, name.as_bytes(), other.as_bytes(), b""),
        }
    });
    archive.end()
}

/// One entry of a zip archive, and which lie is told of it.
type Entry = (&'static str, String, u8, usize);

fn zip_of(entries: &[Entry]) -> Vec<u8> {
    let zip = entries
        .iter()
        .fold(Zip::default(), |zip, (name, content, lie, other)| {
            let content = if name.ends_with('/') { "" } else { content };
            let other = TARGETS[*other % TARGETS.len()];
            zip.with(name, content, |part| match lie {
                0 => part.flags |= 8,
                1 => part.method = 0,
                2 => part.mode = 0o120_777,
                3 => part.listed_name = Some(other.as_bytes().to_vec()),
                4 => part.is_listed = false,
                5 => part.listed = |line| line[20] ^= 1,
                6 => part.local = |header| header[18] ^= 1,
                7 => part.local = |header| header[14] ^= 1,
                8 => part.flags = 0,
                9 => part.before = other.as_bytes().to_vec(),
                10 => part.comment = b"PK\x05\x06".to_vec(),
                11 => part.system = 0,
                _ => {}
            })
        });
    zip.end()
}

/// Half as many as there are cases, the same every time.
fn many<S: Strategy>(strategy: &S) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    let count = Config::default().cases / 2;
    let one = |_| strategy.new_tree(&mut runner).unwrap().current();
    (0..count).map(one).collect()
}

/// What a reader finds in each archive; nothing where it is not installed.
fn read_by(reader: &str, folder: &Path) -> BTreeMap<String, Option<Listing>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/readers/readers.py");
    let ran = Command::new("python3")
        .arg(script)
        .args([reader.as_ref(), folder.as_os_str()])
        .output()
        .unwrap();
    if ran.status.code() == Some(3) {
        eprintln!("skipped: {reader} is not installed");
        return BTreeMap::new();
    }
    assert!(ran.status.success(), "{reader}: {ran:?}");
    serde_json::from_slice(&ran.stdout).unwrap()
}

fn listing(tree: &Path) -> Listing {
    let (mut found, mut ways) = (Listing::new(), vec![tree.to_owned()]);
    while let Some(way) = ways.pop() {
        for entry in fs::read_dir(way).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(tree)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let meta = fs::symlink_metadata(&path).unwrap();
            let target = fs::read_link(&path).map(|target| target.to_str().unwrap().to_owned());
            let (kind, size) = match &target {
                Ok(_) => ("link", 0),
                Err(_) if meta.is_dir() => ("directory", 0),
                Err(_) => ("file", meta.len()),
            };
            if meta.is_dir() {
                ways.push(path);
            }
            found.push((name, kind.to_owned(), size, target.unwrap_or_default()));
        }
    }
    found.sort();
    found
}

/// Holds our reading of each archive against that of the others.
fn compare(archives: &[Vec<u8>], readers: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    for (number, bytes) in archives.iter().enumerate() {
        fs::write(folder.path().join(format!("{number:06}")), bytes).unwrap();
    }
    let others: Vec<_> = readers
        .iter()
        .map(|reader| (reader, read_by(reader, folder.path())))
        .collect();
    let (mut taken, mut agreed) = (0, 0);
    for (number, bytes) in archives.iter().enumerate() {
        let yard = Yard::new();
        let Ok(report) = yard.unpack(bytes) else {
            continue;
        };
        if report.kind == Kind::File {
            continue;
        }
        taken += 1;
        let ours = listing(&yard.inside(""));
        for (reader, read) in &others {
            if let Some(Some(theirs)) = read.get(&format!("{number:06}")) {
                let mut theirs = theirs.clone();
                theirs.sort();
                assert_eq!(
                    ours,
                    theirs,
                    "archive {number}, by us and by {reader}: {}",
                    hex::encode(bytes)
                );
                agreed += 1;
            }
        }
    }
    let is_sound = taken * 20 > archives.len()
        && (agreed >= taken || others.iter().all(|(_, read)| read.is_empty()));
    assert!(
        is_sound,
        "{taken} of {} were taken, and {agreed} readings agreed",
        archives.len()
    );
}

#[test]
fn tars_are_read_as_all_others_read_them_or_refused() {
    let steps = prop::collection::vec(step(), 1..5);
    let archives: Vec<_> = many(&steps).iter().map(|steps| tar_of(steps)).collect();
    compare(&archives, &["tar", "bsdtar, streaming", "tarfile"]);
}

#[test]
fn zips_are_read_as_all_others_read_them_or_refused() {
    let name = prop::sample::select(NAMES.to_vec());
    let entry = (name, "[ab]{0,9}", 0..30_u8, 0..TARGETS.len());
    let entries = prop::collection::vec(entry, 1..5);
    let archives: Vec<_> = many(&entries)
        .iter()
        .map(|entries| zip_of(entries))
        .collect();
    compare(&archives, &["bsdtar", "zipfile"]);
}
