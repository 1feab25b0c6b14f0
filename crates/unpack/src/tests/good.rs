//! What honest archives become.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use super::*;

fn agent() -> Archive {
    Archive::default()
        .directory("./")
        .directory("./desk/")
        .file("./desk/agent.py", "def handler(request): ...\n")
        .file("./desk/deep/er/data.txt", &"x".repeat(5_000))
        .directory("./desk/deep/")
        .symbolic_link("./desk/latest", "deep/er/data.txt")
        .symbolic_link("./first", "desk/latest")
        .hard_link("./desk/copy.py", "./desk/agent.py")
        .changed(b"run.sh", |header| header.set_mode(0o6777), b"#!/bin/sh\n")
        .changed(b"empty", |header| header.set_mode(0o000), b"")
}

#[test]
fn plain_and_packed_become_the_same_tree() {
    let plain = agent().end();
    for (bytes, kind) in [
        (plain.clone(), Kind::Tar),
        (gzip(&plain), Kind::TarGz),
        (zstd(&plain), Kind::TarZst),
    ] {
        let yard = Yard::new();
        let report = yard.unpack(&bytes).unwrap();
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let files = 26 + 5_000 + 10;
        assert_eq!(
            report,
            Report {
                entries: 10,
                bytes: files,
                sha256,
                kind
            }
        );
        assert_eq!(
            fs::read_to_string(yard.inside("desk/agent.py")).unwrap(),
            "def handler(request): ...\n"
        );
        assert_eq!(fs::read(yard.inside("first")).unwrap().len(), 5_000);
        let inode = |path: &str| fs::metadata(yard.inside(path)).unwrap().ino();
        assert_eq!(inode("desk/copy.py"), inode("desk/agent.py"));
        for (path, mode) in [
            ("desk", 0o755),
            ("desk/deep/er", 0o755),
            ("desk/agent.py", 0o644),
            ("run.sh", 0o755),
            ("empty", 0o644),
        ] {
            assert_eq!(yard.mode(path), mode, "{path}");
        }
    }
}

#[test]
fn long_names_of_both_kinds() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let mut gnu_name = long.clone().into_bytes();
    gnu_name.push(0);
    let archive = Archive::default()
        .entry(b'L', b"././@LongLink", b"", &gnu_name)
        .file("short", "gnu")
        .pax(&[
            ("path", "päx/näme"),
            ("mtime", "1.5"),
            ("SCHILY.xattr.user.x", "a\nb"),
        ])
        .file("short", "pax")
        .entry(
            b'g',
            b"global",
            b"",
            &build::pax_records(&[("comment", "a commit")]),
        )
        .pax(&[("linkpath", "päx/näme")])
        .symbolic_link("link", "wrong");
    let yard = Yard::new();
    assert_eq!(yard.unpack(&archive.end()).unwrap().entries, 3);
    assert_eq!(fs::read_to_string(yard.inside(&long)).unwrap(), "gnu");
    assert_eq!(fs::read_to_string(yard.inside("link")).unwrap(), "pax");
}

#[test]
fn what_a_common_writer_writes_is_read() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o755);
    let name = format!("node_modules/{}index.js", "nested/".repeat(30));
    builder
        .append_data(&mut header, &name, "hello".as_bytes())
        .unwrap();
    let mut padded = builder.into_inner().unwrap();
    padded.resize(padded.len().next_multiple_of(10_240), 0);
    let yard = Yard::new();
    assert_eq!(yard.unpack(&gzip(&padded)).unwrap().bytes, 5);
    assert_eq!(fs::read_to_string(yard.inside(&name)).unwrap(), "hello");
}

/// Gives one byte at a time, and is interrupted before each.
struct Drip<'b>(&'b [u8], bool);

impl Read for Drip<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = into.len().min(1);
        self.0.read(&mut into[..count])
    }
}

#[test]
fn how_the_bytes_come_does_not_matter() {
    for bytes in [agent().end(), gzip(&agent().end()), zstd(&agent().end())] {
        let yard = Yard::new();
        let destination = fs::File::open(yard.inside("")).unwrap();
        let report = unpack(
            Drip(&bytes, false),
            "single.bin",
            destination.as_fd(),
            &Limits::default(),
        )
        .unwrap();
        assert_eq!(report.sha256, hex::encode(Sha256::digest(&bytes)));
    }
}

#[test]
fn a_single_file_gets_its_name_and_a_plain_mode() {
    let yard = Yard::new();
    let destination = fs::File::open(yard.inside("")).unwrap();
    let place =
        |name: &str, limits: &Limits| unpack("hello".as_bytes(), name, destination.as_fd(), limits);
    let report = place("tool.bin", &Limits::default()).unwrap();
    let sha256 = hex::encode(Sha256::digest(b"hello"));
    assert_eq!(
        report,
        Report {
            entries: 1,
            bytes: 5,
            sha256,
            kind: Kind::File
        }
    );
    assert_eq!(
        (
            fs::read_to_string(yard.inside("tool.bin"))
                .unwrap()
                .as_str(),
            yard.mode("tool.bin")
        ),
        ("hello", 0o644)
    );
    for bad in [
        "tool.bin", "../x", "a/b", "/x", ".", "", "x/", "./x", "a\nb",
    ] {
        assert!(place(bad, &Limits::default()).is_err(), "{bad:?}");
    }
    let small = Limits {
        file_bytes_max: 4,
        ..Limits::default()
    };
    assert!(matches!(place("other", &small), Err(UnpackError::Limit(_))));
    yard.assert_neighbour_untouched();
}

#[test]
fn report_and_errors_are_json() {
    let report = Yard::new().unpack(&agent().end()).unwrap();
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    for error in [
        UnpackError::UnknownKind("xz".to_owned()),
        refused(&agent().file("../x", "")),
        refused(&agent().raw(b"x")),
    ] {
        let text = serde_json::to_string(&error).unwrap();
        assert_eq!(
            serde_json::from_str::<UnpackError>(&text).unwrap(),
            error,
            "{text}"
        );
    }
    let text = serde_json::to_string(&UnpackError::UnknownKind("xz".to_owned())).unwrap();
    assert_eq!(text, r#"{"code":"UNKNOWN_KIND","detail":"xz"}"#);
}
