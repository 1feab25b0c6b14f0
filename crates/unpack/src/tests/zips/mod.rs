//! Zip archives honest and lying, and what becomes of each.

mod build;

use super::*;
pub(super) use build::Zip;
use build::{Lie, Part};

fn start() -> Zip {
    Zip::default().file("first", "it is fine")
}

/// The sentence that refuses an archive, which must have all of these in it.
fn assert_told(bytes: &[u8], parts: &[&str]) {
    let error = Yard::new().unpack(bytes).unwrap_err().to_string();
    assert!(
        parts.iter().all(|part| error.contains(part)),
        "{error}, not {parts:?}"
    );
    assert!(!error.contains(char::is_control), "{error}");
}

fn extra(id: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    [&id.to_le_bytes(), &length.to_le_bytes(), content].concat()
}

#[test]
fn an_honest_zip_becomes_its_tree() {
    let deep = "deep and packed ".repeat(50_000);
    let zip = Zip::default()
        .file("./", "")
        .file("./desk/", "")
        .with("./desk/agent.py", "def handler(request): ...\n", |_| {})
        .with("desk/run.sh", "#!/bin/sh\n", |part| part.mode = 0o100_775)
        .with("desk/plain.sh", "x", |part| {
            (part.mode, part.system) = (0o100_775, 0);
        })
        .with("deep/er/data.txt", &deep, |part| part.flags |= 8)
        .with("deep/stored", "as it is", |part| part.method = 0)
        .with("päth", "", |_| {})
        .with("empty/", "", |part| part.method = 8)
        .with("latest", "deep/er/data.txt", |part| part.mode = 0o120_777)
        .comment(b"a commit");
    for zip in [zip.clone(), zip.long()] {
        let yard = Yard::new();
        let report = yard.unpack(&zip.end()).unwrap();
        let bytes = 26 + 10 + 1 + deep.len() as u64 + 8;
        assert_eq!(
            (report.kind, report.entries, report.bytes),
            (Kind::Zip, 10, bytes)
        );
        assert_eq!(fs::read_to_string(yard.inside("latest")).unwrap(), deep);
        assert_eq!(fs::read(yard.inside("deep/stored")).unwrap(), b"as it is");
        for (path, mode) in [
            ("desk", 0o755),
            ("desk/agent.py", 0o644),
            ("desk/run.sh", 0o755),
            ("desk/plain.sh", 0o644),
            ("päth", 0o644),
            ("empty", 0o755),
        ] {
            assert_eq!(yard.mode(path), mode, "{path}");
        }
        assert_eq!(
            fs::read_link(yard.inside("latest")).unwrap().to_str(),
            Some("deep/er/data.txt")
        );
    }
    assert_eq!(
        Yard::new().unpack(&Zip::default().end()).unwrap().entries,
        0
    );
}

#[test]
fn zip_names_that_lead_elsewhere() {
    for name in [
        "/etc/cron.d/x",
        "../outside/precious",
        "a/../../outside/precious",
        "..",
        "a/..",
        "a//b",
        "a\\..\\b",
        "C:\\x",
        "a\nb",
        "\u{1b}[2J",
        "a/./b",
        "a\0b",
        "",
        "/",
    ] {
        assert_told(&start().file(name, "x").end(), &["the name"]);
        let directory = format!("{name}/");
        assert_told(&start().file(&directory, "").end(), &["the name"]);
    }
    assert_told(
        &start().raw(b"a\xff", b"x", |_| {}).end(),
        &["the name", "not UTF-8"],
    );
    let unmarked = start().with("ä", "x", |part| part.flags = 0);
    assert_told(
        &unmarked.end(),
        &["the name `ä`", "neither ASCII nor marked"],
    );
    assert_told(
        &start().file("deep/", "").file("deep/", "").end(),
        &["deep", "twice"],
    );
    assert_told(
        &start().file("a", "").file("a", "").end(),
        &["`a`", "twice"],
    );
    assert_told(&start().file("a", "").file("A", "").end(), &["`A`", "case"]);
    assert_told(
        &start().file("a", "").file("a/b", "").end(),
        &["`a`", "used as a directory"],
    );
}

#[test]
fn a_zips_headers_and_directory_say_the_same() {
    let other_name = start().with("good", "x", |part| {
        part.listed_name = Some(b"evil".to_vec());
    });
    assert_told(&other_name.end(), &["`evil`", "another name"]);
    let lies: [(Lie, &str); 6] = [
        (|line| line[4] ^= 2, "flag"),
        (|line| line[6] ^= 8, "method"),
        (|line| line[12] ^= 1, "checksum"),
        (|line| line[16] ^= 1, "size"),
        (|line| line[20] ^= 1, "size"),
        (|line| line[38] ^= 1, "place"),
    ];
    for (lie, what) in lies {
        let zip = start().with("liar", "xyz", |part| part.listed = lie);
        assert_told(&zip.end(), &["`liar`", what]);
    }
    let elsewhere = start().with("liar", "xyz", |part| part.listed = |line| line[30] = 1);
    assert_told(&elsewhere.end(), &["`liar`", "another disk"]);
    for at in [10, 14, 18] {
        let lie: Lie = match at {
            10 => |header| header[10] ^= 1,
            14 => |header| header[14] ^= 1,
            _ => |header| header[18] ^= 1,
        };
        assert_told(
            &start().with("liar", "xyz", |part| part.local = lie).end(),
            &["`liar`"],
        );
        let behind = |part: &mut Part| {
            part.flags |= 8;
            part.local = lie;
        };
        assert_told(
            &start().with("liar", "xyz", behind).end(),
            &["`liar`", "before it and behind"],
        );
    }
    let hidden = start().with("hidden", "x", |part| part.is_listed = false);
    assert_told(&hidden.clone().file("last", "x").end(), &["another name"]);
    assert_told(&hidden.end(), &["not in its directory"]);
    let invented = start().with("ghost", "x", |part| part.is_there = false);
    assert_told(&invented.end(), &["`ghost`", "not in the archive"]);
}

#[test]
fn nothing_stands_before_between_or_behind_a_zips_entries() {
    let between = start().with("next", "x", |part| part.before = b"junk".to_vec());
    assert_told(&between.end(), &["something stands between"]);
    let before = Zip::default().with("next", "x", |part| part.before = b"#!/bin/sh\n".to_vec());
    // What begins as something else is that: a program with an archive in it stays one file.
    assert_eq!(Yard::new().unpack(&before.end()).unwrap().kind, Kind::File);
    for rest in [b"\0".as_slice(), b"PK\x05\x06", &start().end()] {
        let bytes = [&start().end(), rest].concat();
        assert_told(&bytes, &["something follows"]);
    }
    let sneaky = start().comment(b"PK\x05\x06 and more of it than this");
    assert_told(&sneaky.end(), &["hides another end"]);
    // The length of the comment is `PK`, and what it begins with the rest of a mark.
    let straddling = [b"\x05\x06".as_slice(), &[0; 0x4b50 - 2]].concat();
    assert_told(&start().comment(&straddling).end(), &["hides another end"]);
    let locator = start().with("x", "", |part| part.comment = b"PK\x06\x07".repeat(5));
    assert_told(&locator.end(), &["`x`", "hides another end"]);
    // Entries that share their bytes: the second claims to lie in the first.
    let shared = start().with("again", "", |part| {
        part.is_there = false;
        part.listed = |line| line[38] = 0;
    });
    assert_told(&shared.end(), &["`again`", "not in the archive"]);
}

#[test]
fn long_sizes_of_a_zip_tell_no_other_story() {
    let long =
        |size: u64, packed: u64| extra(1, &[size.to_le_bytes(), packed.to_le_bytes()].concat());
    let stored = |extra: Vec<u8>, local: Lie| {
        start().with("long", "xyz", |part| {
            (part.method, part.extra, part.local) = (0, extra, local);
        })
    };
    let maxed: Lie = |header| header[14..22].fill(0xff);
    assert!(Yard::new().unpack(&stored(long(3, 3), maxed).end()).is_ok());
    assert!(
        Yard::new()
            .unpack(&stored(long(3, 3), |_| {}).end())
            .is_ok()
    );
    assert_told(&stored(long(4, 3), |_| {}).end(), &["`long`", "two sizes"]);
    assert_told(&stored(long(3, u64::MAX), maxed).end(), &["`long`"]);
    assert_told(&stored(Vec::new(), maxed).end(), &["`long`", "elsewhere"]);
    assert_told(
        &stored(extra(1, &[0; 8]), maxed).end(),
        &["`long`", "wrong length"],
    );
    let twice = [long(3, 3), long(3, 3)].concat();
    assert_told(&stored(twice, maxed).end(), &["`long`", "twice"]);
    let huge = u64::MAX - 7;
    assert_told(&stored(long(huge, huge), maxed).end(), &["larger"]);
    for listed in [extra(1, &[0; 8]), extra(1, &[0; 24])] {
        let zip = start().with("long", "xyz", |part| part.listed_extra = listed);
        assert_told(&zip.end(), &["`long`", "do not fit"]);
    }
    let wanting = start().with("long", "xyz", |part| {
        part.listed = |line| line[38..].fill(0xff);
    });
    assert_told(&wanting.end(), &["`long`", "do not fit"]);
    let moved = start().with("long", "xyz", |part| {
        part.listed = |line| line[38..].fill(0xff);
        part.listed_extra = extra(1, &[0; 8]);
    });
    assert_told(&moved.end(), &["`long`", "another place"]);
    for at in [0, 2, 4, 6, 8, 12] {
        for zip in [start(), start().long()] {
            assert_told(
                &zip.end_with(|end| end[at] ^= 1),
                &["its end says something else"],
            );
        }
    }
    let good = start().long().end();
    let end = good
        .windows(4)
        .position(|four| four == b"PK\x06\x06")
        .unwrap();
    for at in [4, 16, 20, 24, 32, 40, 48, 60, 64, 72] {
        let mut bytes = good.clone();
        bytes[end + at] ^= 2;
        assert_told(&bytes, &["its end says something else"]);
    }
}

#[test]
fn zip_entries_that_are_encrypted_or_packed_oddly() {
    for flag in [1, 1 << 6, 1 << 13] {
        let zip = start().with("secret", "x", |part| part.flags |= flag);
        assert_told(&zip.end(), &["`secret` is encrypted"]);
    }
    for flag in [1 << 4, 1 << 5, 1 << 7, 1 << 12, 1 << 15] {
        assert_told(
            &start().with("odd", "x", |part| part.flags |= flag).end(),
            &["`odd`", "flags"],
        );
    }
    for method in [1, 6, 9, 12, 14, 93, 95, 99] {
        let zip = start().with("odd", "x", |part| part.method = method);
        assert_told(&zip.end(), &["`odd` is packed by method"]);
    }
    for (id, why) in [
        (0x9901, "encrypted"),
        (0x17, "encrypted"),
        (0x6c78, "two places"),
    ] {
        let zip = start().with("odd", "x", |part| part.extra = extra(id, &[0; 7]));
        assert_told(&zip.end(), &["`odd`", why]);
    }
    let two_names = extra(
        0x7075,
        &[&[1], 0_u32.to_le_bytes().as_slice(), b"evil"].concat(),
    );
    assert_told(
        &start()
            .with("odd", "x", |part| part.extra = two_names)
            .end(),
        &["two names"],
    );
    for broken in [vec![1], vec![1, 0, 9, 0], vec![0; 5]] {
        let zip = start().with("odd", "x", |part| part.extra = broken);
        assert_told(&zip.end(), &["`odd`", "extra fields"]);
    }
    let unsized_store = start().with("odd", "stored", |part| (part.method, part.flags) = (0, 8));
    assert_told(&unsized_store.end(), &["`odd`", "without saying before"]);
    let nothing_behind = start().with("odd", "x", |part| {
        part.flags |= 8;
        part.behind = Some(Vec::new());
    });
    assert_told(
        &nothing_behind.end(),
        &["`odd`", "not followed by its size"],
    );
    let garbage = start().with("odd", "x", |part| part.local = |header| header[4] = 0);
    assert_told(&garbage.end(), &["`odd`"]);
}

#[test]
fn links_and_devices_in_a_zip_are_told_by_their_attributes() {
    for target in [
        "/etc/passwd",
        "..",
        "../outside",
        "gone",
        "soft",
        "a\nb",
        "",
        &"x".repeat(5_000),
    ] {
        let zip = start().with("soft", target, |part| part.mode = 0o120_777);
        assert_told(&zip.end(), &["the link `soft`"]);
    }
    let through = start().with("way", "../outside", |part| part.mode = 0o120_777);
    assert_told(
        &through.file("way/precious", "owned").end(),
        &["`way`", "used as a directory"],
    );
    for mode in [0o010_644, 0o020_644, 0o060_644, 0o140_644] {
        assert_told(
            &start().with("odd", "", |part| part.mode = mode).end(),
            &["`odd` is a"],
        );
    }
    for (name, mode) in [("odd", 0o040_755), ("odd/", 0o100_644), ("odd/", 0o120_777)] {
        assert_told(
            &start().with(name, "", |part| part.mode = mode).end(),
            &["`odd"],
        );
    }
    let dos = start().with("odd", "", |part| part.listed = |line| line[34] |= 0x10);
    assert_told(&dos.end(), &["`odd`", "a directory by its attributes"]);
    let foreign = start().with("odd", "first", |part| {
        (part.mode, part.system) = (0o120_777, 0);
    });
    assert_told(&foreign.end(), &["`odd`", "for some readers"]);
    for method in [0, 8] {
        let zip = start().with("full/", "content", |part| part.method = method);
        assert_told(&zip.end(), &["`full/`", "a directory with content"]);
    }
}

#[test]
fn zip_bombs_are_stopped_by_every_limit() {
    let limits = Limits {
        entries_max: 10,
        total_bytes_max: 5_000,
        file_bytes_max: 4_000,
        depth_max: 4,
        ..Limits::default()
    };
    let over = |zip: &Zip, limits: &Limits| {
        let error = Yard::new().unpack_with(&zip.end(), limits).unwrap_err();
        assert!(matches!(error, UnpackError::Limit(_)), "{error:?}");
    };
    let many = (0..11).fold(Zip::default(), |zip, n| zip.file(&format!("f{n}"), ""));
    over(&many, &limits);
    let (four, three) = ("x".repeat(4_001), "x".repeat(3_000));
    for flags in [0x800, 0x808] {
        over(
            &start().with("a", &four, |part| part.flags = flags),
            &limits,
        );
        let both = start().with("a", &three, |part| part.flags = flags);
        over(&both.with("b", &three, |part| part.flags = flags), &limits);
    }
    over(&start().file("a/b/c/d/e", ""), &limits);
    let zeros = "\0".repeat(3 << 20);
    over(&start().file("zeros", &zeros), &Limits::default());
    let small = start().with("liar", &zeros, |part| {
        part.local = |header| header[18..22].fill(9);
    });
    assert!(Yard::new().unpack(&small.end()).is_err());
}
