//! Every trick in the list of archive attacks, and what becomes of it.

use super::*;

type Code = fn(&UnpackError) -> bool;

const UNKNOWN: Code = |error| matches!(error, UnpackError::UnknownKind(_));
const NAME: Code = |error| matches!(error, UnpackError::Name { .. });
const LINK: Code = |error| matches!(error, UnpackError::Link { .. });
const CLASH: Code = |error| matches!(error, UnpackError::Clash { .. });
const FORBIDDEN: Code = |error| matches!(error, UnpackError::Forbidden { .. });
const DAMAGED: Code = |error| matches!(error, UnpackError::Damaged(_));
const LIMIT: Code = |error| matches!(error, UnpackError::Limit(_));
const TRAILING: Code = |error| matches!(error, UnpackError::Trailing(_));

fn assert_refused(archive: &Archive, code: Code) {
    let error = refused(archive);
    assert!(code(&error), "{error:?}");
    assert!(!error.to_string().contains(char::is_control), "{error}");
}

fn start() -> Archive {
    Archive::default()
}

#[test]
fn names_that_lead_elsewhere() {
    for name in [
        "/etc/cron.d/x",
        "../outside/precious",
        "a/../../outside/precious",
        "..",
        "a/..",
        "a//b",
        "a\\..\\b",
        "a\nb",
        "\u{1b}[2J",
        "a/./b",
    ] {
        assert_refused(&start().file(name, "x"), NAME);
        assert_refused(&start().directory(name), NAME);
        assert_refused(&start().symbolic_link(name, "x"), NAME);
        assert_refused(&start().pax(&[("path", name)]).file("good", "x"), NAME);
        let mut long = name.as_bytes().to_vec();
        long.push(0);
        assert_refused(
            &start()
                .entry(b'L', b"././@LongLink", b"", &long)
                .file("good", "x"),
            NAME,
        );
    }
    assert_refused(&start().pax(&[("path", "a\0b")]).file("good", "x"), NAME);
    assert_refused(
        &start().pax(&[("path", &"x".repeat(256))]).file("good", "x"),
        NAME,
    );
    assert_refused(&start().entry(b'0', b"a\xff", b"", b""), NAME);
    assert_refused(&start().entry(b'0', b"", b"", b"x"), NAME);
    assert_refused(&start().file("./", "x"), NAME);
    assert_refused(&start().symbolic_link(".", "x"), NAME);
    assert_refused(&start().file("file/", "x"), NAME);
}

#[test]
fn symbolic_links_that_lead_outside_or_nowhere() {
    for target in [
        "/etc/passwd",
        "/",
        "..",
        "../outside",
        "../outside/precious",
        "d/../../outside",
        "gone",
        "self",
        "a\nb",
    ] {
        assert_refused(&start().directory("d").symbolic_link("self", target), LINK);
    }
    assert_refused(&start().entry(b'2', b"empty", b"", b""), LINK);
    let circle = start().symbolic_link("a", "b").symbolic_link("b", "a");
    assert_refused(&circle, LINK);
    let by_way_of = start()
        .directory("d")
        .symbolic_link("d/up", "..")
        .symbolic_link("out", "d/up/../outside");
    assert_refused(&by_way_of, LINK);
    let inside = start()
        .directory("d")
        .symbolic_link("d/up", "..")
        .file("top", "x")
        .symbolic_link("fine", "d/up/top");
    assert!(Yard::new().unpack(&inside.end()).is_ok());
}

#[test]
fn nothing_is_written_through_a_link() {
    for first in ["../outside", "real"] {
        let archive = start().directory("real").symbolic_link("way", first);
        assert_refused(&archive.clone().file("way/precious", "owned"), CLASH);
        assert_refused(&archive.clone().directory("way"), CLASH);
        assert_refused(&archive.clone().file("way", "owned"), CLASH);
        assert_refused(&archive.clone().hard_link("way/x", "real"), LINK);
        assert_refused(&archive.symbolic_link("way", "real"), CLASH);
    }
    assert_refused(&start().file("way/x", "x").symbolic_link("way", "y"), CLASH);
}

#[test]
fn hard_links_reach_only_files_of_the_archive() {
    let base = start()
        .directory("d")
        .file("d/file", "x")
        .symbolic_link("soft", "d/file");
    for target in ["gone", "d", "soft", "D/file", "d/File", "later"] {
        assert_refused(
            &base.clone().hard_link("hard", target).file("later", ""),
            LINK,
        );
    }
    for target in ["/etc/passwd", "../outside/precious"] {
        assert_refused(&base.clone().hard_link("hard", target), NAME);
    }
    assert_refused(&base.clone().entry(b'1', b"hard", b"", b""), LINK);
    assert_refused(&base.hard_link("d/file", "d/file"), CLASH);
}

#[test]
fn special_files_and_unknown_kinds_are_never_made() {
    for kind in [
        b'3', b'4', b'6', b'7', b'S', b'V', b'M', b'D', b'A', b'z', 0xff,
    ] {
        assert_refused(&start().entry(kind, b"thing", b"", b""), FORBIDDEN);
    }
    let sparse = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.realsize", "99999999999"),
    ];
    assert_refused(&start().pax(&sparse).file("sparse", "x"), FORBIDDEN);
}

#[test]
fn two_readers_could_read_two_things() {
    let size = |size: &str| start().pax(&[("size", size)]).file("file", "xxxx");
    for other in ["0", "3", "512", "1024", "18446744073709551615"] {
        assert_refused(&size(other), DAMAGED);
    }
    assert!(Yard::new().unpack(&size("4").end()).is_ok());
    assert_refused(
        &start().pax(&[("path", "a"), ("path", "b")]).file("c", ""),
        DAMAGED,
    );
    assert_refused(
        &start()
            .pax(&[("path", "a")])
            .pax(&[("path", "b")])
            .file("c", ""),
        DAMAGED,
    );
    assert_refused(
        &start()
            .pax(&[("path", "a")])
            .entry(b'L', b"x", b"", b"b\0")
            .file("c", ""),
        DAMAGED,
    );
    assert_refused(
        &start()
            .entry(b'L', b"x", b"", b"a\0")
            .entry(b'L', b"x", b"", b"b\0")
            .file("c", ""),
        DAMAGED,
    );
    for key in ["path", "linkpath", "size"] {
        let global = build::pax_records(&[(key, "7")]);
        assert_refused(
            &start().entry(b'g', b"global", b"", &global).file("c", ""),
            DAMAGED,
        );
    }
    for kind in [b'1', b'2', b'5'] {
        let smuggled = start().file("inner", "x").end();
        assert_refused(
            &start().file("x", "").entry(kind, b"d", b"x", &smuggled),
            DAMAGED,
        );
    }
    assert_refused(&start().pax(&[("path", "announced")]), DAMAGED);
    let old = |header: &mut tar::Header| header.as_old_mut().pad.fill(0);
    let hidden = start().file("new", "").changed(b"old", old, b"x");
    assert_refused(&hidden, DAMAGED);
}

#[test]
fn names_are_there_once() {
    for second in [
        start().file("a", "2"),
        start().directory("a"),
        start().symbolic_link("a", "b"),
        start().file("a/b", ""),
    ] {
        assert_refused(&start().file("a", "1").raw(&body(&second)), CLASH);
    }
    assert_refused(&start().directory("d").directory("d"), CLASH);
    assert_refused(&start().directory(".").directory("./"), CLASH);
    assert_refused(&start().file("d/x", "").file("d", ""), CLASH);
    for (one, two) in [
        ("README", "readme"),
        ("Lib/a", "lib/b"),
        ("é", "e\u{301}"),
        ("straße", "STRASSE"),
        ("K", "\u{212a}"),
    ] {
        assert_refused(&start().file(one, "").file(two, ""), CLASH);
    }
}

fn body(archive: &Archive) -> Vec<u8> {
    let mut bytes = archive.end();
    bytes.truncate(bytes.len() - 1024);
    bytes
}

#[test]
fn headers_must_be_sound() {
    let mut wrong_sum = start().file("a", "x").end();
    wrong_sum[0] = b'b';
    assert!(DAMAGED(&Yard::new().unpack(&wrong_sum).unwrap_err()));
    assert_refused(
        &start().changed(b"a", |h| h.as_old_mut().size.fill(b'z'), b""),
        DAMAGED,
    );
    assert_refused(
        &start().changed(b"a", |h| h.as_old_mut().mode.fill(b'9'), b""),
        DAMAGED,
    );
    assert_refused(
        &start().changed(b"a", |h| h.as_old_mut().size = [0xff; 12], b""),
        |error| matches!(error, UnpackError::Damaged(_) | UnpackError::Limit(_)),
    );
    let huge = |h: &mut tar::Header| h.set_size(u64::MAX);
    assert_refused(&start().changed(b"a", huge, b""), |error| {
        matches!(error, UnpackError::Damaged(_) | UnpackError::Limit(_))
    });
}

#[test]
fn what_follows_the_end_is_refused() {
    let good = start().file("a", "x").end();
    for rest in [
        b"x".as_slice(),
        &[0, 0, 1],
        &good,
        &[0; 511],
        &vec![0; 2 << 20],
    ] {
        let mut bytes = good.clone();
        bytes.extend_from_slice(rest);
        for bytes in [gzip(&bytes), bytes] {
            let error = Yard::new().unpack(&bytes).unwrap_err();
            assert!(
                TRAILING(&error) || DAMAGED(&error) || LIMIT(&error),
                "{error:?}"
            );
        }
    }
    for rest in [b"\0".to_vec(), b"junk".to_vec(), gzip(b""), gzip(&good)] {
        let mut bytes = gzip(&good);
        bytes.extend_from_slice(&rest);
        let error = Yard::new().unpack(&bytes).unwrap_err();
        assert!(TRAILING(&error), "{error:?}");
    }
    let (first, second) = good.split_at(512);
    let two_members = [gzip(first), gzip(second)].concat();
    assert!(Yard::new().unpack(&two_members).is_err());
}

#[test]
fn what_is_no_archive_is_a_single_file_and_what_hides_none_is_refused() {
    for bytes in [b"".as_slice(), b"hello", &[b'x'; 2_000]] {
        let yard = Yard::new();
        assert_eq!(yard.unpack(bytes).unwrap().kind, Kind::File);
        assert_eq!(fs::read(yard.inside("single.bin")).unwrap(), bytes);
        for packed in [gzip(bytes), zstd(bytes)] {
            assert!(UNKNOWN(&Yard::new().unpack(&packed).unwrap_err()));
        }
    }
    for bytes in [&[0; 1024], b"BZh91AY&SY".as_slice(), b"\xfd7zXZ\0\0"] {
        assert!(UNKNOWN(&Yard::new().unpack(bytes).unwrap_err()));
    }
    assert!(DAMAGED(&Yard::new().unpack(b"PK\x03\x04").unwrap_err()));
}

#[test]
fn frames_of_zstandard_are_one_small_and_sound() {
    let tar = start().file("a", &"some content ".repeat(90)).end();
    let good = zstd(&tar);
    assert!(Yard::new().unpack(&good).is_ok());
    let refused = |bytes: &[u8]| Yard::new().unpack(bytes).unwrap_err();
    let raw = |header: &[u8], size: usize, rest: &[u8]| {
        let block = u32::try_from(size << 3 | 1).unwrap().to_le_bytes();
        [b"\x28\xb5\x2f\xfd", header, &block[..3], &tar, rest].concat()
    };
    // A frame without checksum or size, by its window: 4 KiB, 8 MiB, one step more, and all that can be said.
    for (window, is_taken) in [
        (0x10, true),
        (13 << 3, true),
        (13 << 3 | 1, false),
        (0xff, false),
    ] {
        let frame = raw(&[0, window], tar.len(), b"");
        match Yard::new().unpack(&frame) {
            Ok(_) => assert!(is_taken, "{window}"),
            Err(error) => assert!(!is_taken && LIMIT(&error), "{window}: {error}"),
        }
    }
    let size = |size: usize| {
        [
            &[0x80, 0x58],
            &u32::try_from(size).unwrap().to_le_bytes()[..],
        ]
        .concat()
    };
    assert!(
        Yard::new()
            .unpack(&raw(&size(tar.len()), tar.len(), b""))
            .is_ok()
    );
    for wrong in [
        raw(&size(tar.len() + 1), tar.len(), b""),
        raw(&[4, 0x58], tar.len(), b"\0\0\0\0"),
        raw(&[1, 0x58, 7], tar.len(), b""),
        [b"\x50\x2a\x4d\x18\x01\0\0\0x", good.as_slice()].concat(),
    ] {
        let error = refused(&wrong);
        assert!(DAMAGED(&error), "{error:?}");
    }
    for rest in [good.as_slice(), b"\x50\x2a\x4d\x18\x01\0\0\0x", b"x", b"\0"] {
        let error = refused(&[&good, rest].concat());
        assert!(TRAILING(&error), "{error:?}");
    }
}

#[test]
fn bombs_are_stopped_by_every_limit() {
    let limits = Limits {
        entries_max: 10,
        total_bytes_max: 5_000,
        file_bytes_max: 4_000,
        depth_max: 4,
        ..Limits::default()
    };
    let over = |archive: &Archive, limits: &Limits| {
        let error = Yard::new()
            .unpack_with(&gzip(&archive.end()), limits)
            .unwrap_err();
        assert!(LIMIT(&error), "{error:?}");
    };
    let many = (0..11).fold(start(), |archive, n| archive.file(&format!("f{n}"), ""));
    over(&many, &limits);
    let headers = (0..11).fold(start(), |archive, _| archive.entry(b'g', b"g", b"", b""));
    over(&headers, &limits);
    over(&start().file("a", &"x".repeat(4_001)), &limits);
    over(
        &start()
            .file("a", &"x".repeat(3_000))
            .file("b", &"x".repeat(3_000)),
        &limits,
    );
    over(&start().directory("a/b/c/d/e"), &limits);
    let ways = |count: usize| {
        (0..count).fold(start(), |archive, n| {
            archive.file(&format!("u{n}/a/a/f"), "")
        })
    };
    over(&ways(3), &limits);
    Yard::new()
        .unpack_with(&gzip(&ways(2).end()), &limits)
        .unwrap();
    over(
        &start()
            .pax(&[("comment", &"x".repeat(70_000))])
            .file("a", ""),
        &Limits::default(),
    );
    over(
        &start().file("zeros", &"\0".repeat(8 << 20)),
        &Limits::default(),
    );
    let small = Limits {
        archive_bytes_max: 600,
        ..Limits::default()
    };
    let error = Yard::new()
        .unpack_with(&start().file("a", "x").end(), &small)
        .unwrap_err();
    assert!(LIMIT(&error), "{error:?}");
}

#[test]
fn what_is_there_already_is_not_touched() {
    let yard = Yard::new();
    fs::write(yard.inside("file"), "mine").unwrap();
    std::os::unix::fs::symlink("../outside", yard.inside("way")).unwrap();
    std::os::unix::fs::symlink("../outside/precious", yard.inside("soft")).unwrap();
    for archive in [
        start().file("file", "theirs"),
        start().file("way/precious", "theirs"),
        start().file("soft", "theirs"),
        start().directory("way"),
    ] {
        let error = yard.unpack(&archive.end()).unwrap_err();
        assert!(matches!(error, UnpackError::System { .. }), "{error:?}");
    }
    assert_eq!(fs::read_to_string(yard.inside("file")).unwrap(), "mine");
}
