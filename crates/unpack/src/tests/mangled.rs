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

#[test]
fn cut_off_anywhere_is_an_error() {
    for whole in [sample().end(), gzip(&sample().end())] {
        assert!(Yard::new().unpack(&whole).is_ok());
        for length in 0..whole.len() {
            assert!(
                Yard::new().unpack(&whole[..length]).is_err(),
                "{length} of {}",
                whole.len()
            );
        }
    }
}

#[test]
fn a_turned_bit_of_a_packed_archive_is_found_or_changes_nothing() {
    let whole = gzip(&sample().end());
    let report = Yard::new().unpack(&whole).unwrap();
    for position in 0..whole.len() {
        for bit in 0..8 {
            let mut mangled = whole.clone();
            mangled[position] ^= 1 << bit;
            // Some bits mean nothing, such as the header's time; the content has a checksum, and the digest tells all.
            if let Ok(other) = Yard::new().unpack(&mangled) {
                assert_ne!(other.sha256, report.sha256);
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
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        prop_assert!(Yard::new().unpack(&bytes).is_err());
        prop_assert!(Yard::new().unpack(&gzip(&bytes)).is_err());
    }
}
