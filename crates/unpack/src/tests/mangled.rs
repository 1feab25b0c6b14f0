//! Archives cut off and turned over, bit by bit: an error, never a panic, never a step outside.

use proptest::prelude::*;

use super::*;

fn sample() -> Archive {
    Archive::default()
        .directory("d")
        .pax(&[("path", "d/long name")])
        .file(
            "d/x",
            "some content that is long enough to be packed, packed, packed",
        )
        .symbolic_link("link", "d/long name")
        .hard_link("hard", "d/long name")
}

fn zip_sample() -> Zip {
    Zip::default()
        .file("d/", "")
        .file("d/x", &"packed, packed, packed ".repeat(9))
        .with("d/stored", "as it is", |part| part.method = 0)
        .with("d/streamed", &"behind ".repeat(20), |part| part.flags |= 8)
        .with("link", "d/x", |part| part.mode = 0o120_777)
}

#[test]
fn cut_off_anywhere_is_an_error() {
    for whole in [
        sample().end(),
        gzip(&sample().end()),
        zstd(&sample().end()),
        zip_sample().end(),
    ] {
        assert!(Yard::new().unpack(&whole).is_ok());
        for length in 0..whole.len() {
            let cut = Yard::new().unpack(&whole[..length]);
            // Before there is anything to tell it by, it is no archive.
            let is_file = |report: Report| length < 262 && report.kind == Kind::File;
            assert!(!cut.is_ok_and(|report| !is_file(report)), "{length}");
        }
    }
}

#[test]
fn a_turned_bit_of_a_packed_archive_is_found_or_changes_nothing() {
    for whole in [gzip(&sample().end()), zstd(&sample().end())] {
        turn_every_bit(&whole);
    }
}

fn turn_every_bit(whole: &[u8]) {
    let report = Yard::new().unpack(whole).unwrap();
    for position in 0..whole.len() {
        for bit in 0..8 {
            let mut mangled = whole.to_vec();
            mangled[position] ^= 1 << bit;
            // Some bits mean nothing, such as the header's time; the content has a checksum, and the digest tells all.
            if let Ok(other) = Yard::new().unpack(&mangled) {
                assert_ne!(other.sha256, report.sha256);
                if other.kind == Kind::File {
                    // Without its mark it is no archive, and stays what it is.
                    continue;
                }
                assert_eq!((other.entries, other.bytes), (report.entries, report.bytes));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_change_leads_outside(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut mangled = sample().end();
        for (at, byte) in changes {
            let at = at.index(mangled.len());
            mangled[at] = byte;
        }
        let _ = Yard::new().unpack(&mangled);
        let _ = Yard::new().unpack(&gzip(&mangled));
        let _ = Yard::new().unpack(&zstd(&mangled));
    }

    #[test]
    fn no_change_with_a_right_checksum_leads_outside(
        changes in prop::collection::vec((0_usize..345, prop::sample::select(b"\0\0./7x\\\n05".to_vec())), 1..12),
        entry in 0_usize..6,
    ) {
        let mut mangled = sample().end();
        let header = &mut mangled[entry * 512..][..512];
        for (at, byte) in changes {
            header[at] = byte;
        }
        let mut fixed = tar::Header::new_old();
        fixed.as_mut_bytes().copy_from_slice(header);
        fixed.set_cksum();
        header.copy_from_slice(fixed.as_bytes());
        let _ = Yard::new().unpack(&mangled);
    }

    #[test]
    fn no_change_of_a_zip_leads_outside(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut mangled = zip_sample().end();
        for (at, byte) in changes {
            let at = at.index(mangled.len());
            mangled[at] = byte;
        }
        let _ = Yard::new().unpack(&mangled);
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = Yard::new().unpack(&bytes);
        for magic in [b"PK\x03\x04".as_slice(), b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08"] {
            prop_assert!(Yard::new().unpack(&[magic, &bytes].concat()).is_err());
        }
        prop_assert!(Yard::new().unpack(&gzip(&bytes)).is_err());
    }
}
