//! Texts in pieces, against the same texts whole. Never a clock.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::mask::Scanner;

const VALUE: &[u8] = b"sk/live+51Hx\"yZ=09-abcdef";

fn scanner() -> Scanners {
    let scanner = |value| Arc::new(Scanner::new([value], 0x9e37_79b9_7f4a_7c15).unwrap());
    Scanners::from_iter([scanner(VALUE), scanner(b"aBaBaBaBaBaBaBaBaB")])
}

/// Pieces of text, some of them forms of the value.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let json = serde_json::to_vec(std::str::from_utf8(VALUE).unwrap()).unwrap();
    let part = prop_oneof![
        Just(VALUE.to_vec()),
        Just(VALUE[..9].to_vec()),
        Just(b"aBaBaBaBaB".to_vec()),
        Just(json),
        Just(hex::encode(VALUE).into_bytes()),
        Just(b"sk%2Flive%2B51Hx%22yZ%3D09-abcdef".to_vec()),
        prop::collection::vec(any::<u8>(), 0..80),
    ];
    prop::collection::vec(part, 0..10).prop_map(|parts| parts.concat())
}

fn whole(text: &[u8]) -> (Vec<u8>, u32) {
    let mut masked = text.to_vec();
    let hits = scanner().mask(&mut masked);
    (masked, hits)
}

fn in_pieces(text: &[u8], cuts: &[usize], hold: Hold) -> (Vec<u8>, u32) {
    let mut pass = Pass::new(scanner(), hold);
    let (mut out, mut rest, mut came) = (Vec::new(), text, 0);
    let most = pass.window();
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let (piece, more) = rest.split_at(cut.min(rest.len()));
        rest = more;
        came += piece.len();
        out.extend_from_slice(&pass.push(Bytes::copy_from_slice(piece), 0));
        // Exactly the window, whatever came.
        assert_eq!(pass.held(), came.min(most));
        assert_eq!(out.len(), came - came.min(most));
    }
    out.extend_from_slice(&pass.finish());
    (out, pass.hits())
}

proptest! {
    #[test]
    fn however_a_text_is_cut_the_same_comes_out(text in text(), cuts in prop::collection::vec(0_usize..60, 0..30)) {
        let (masked, hits) = whole(&text);
        let (out, counted) = in_pieces(&text, &cuts, Hold::Window);
        prop_assert_eq!(&out, &masked);
        prop_assert_eq!(counted == 0, hits == 0);
        let singly = in_pieces(&text, &vec![1; text.len()], Hold::Window);
        prop_assert_eq!(&singly.0, &masked);
        prop_assert_eq!(scanner().mask(&mut masked.clone()), 0);
    }

    #[test]
    fn where_nothing_is_held_back_no_form_passes_whole(text in text(), cuts in prop::collection::vec(0_usize..60, 0..30)) {
        let (mut out, counted) = in_pieces(&text, &cuts, Hold::Nothing);
        prop_assert_eq!(out.len(), text.len());
        prop_assert_eq!(scanner().mask(&mut out), 0);
        prop_assert_eq!(counted == 0, whole(&text).1 == 0);
    }

    #[test]
    fn a_border_lets_all_before_it_go(lines in prop::collection::vec(text(), 1..6)) {
        let lines: Vec<Vec<u8>> = lines.iter().map(|line| line.iter().copied().filter(|byte| *byte != b'\n').collect()).collect();
        let mut pass = Pass::new(scanner(), Hold::Window);
        let (mut came, mut out) = (Vec::new(), Vec::new());
        for line in &lines {
            let (half, rest) = line.split_at(line.len() / 2);
            came.extend_from_slice(line);
            came.push(b'\n');
            out.extend_from_slice(&pass.push(Bytes::copy_from_slice(half), 0));
            let rest = [rest, b"\n"].concat();
            let length = rest.len();
            out.extend_from_slice(&pass.push(rest.into(), length));
            prop_assert_eq!(out.len(), came.len());
        }
        prop_assert_eq!(out, whole(&came).0);
    }
}

#[test]
fn what_has_nothing_in_it_is_not_copied() {
    let data = Bytes::from_static(b"nothing that anybody would mind");
    for hold in [Hold::Window, Hold::Nothing] {
        let out = Pass::new(scanner(), hold).push(data.clone(), data.len());
        assert_eq!(out.as_ptr(), data.as_ptr());
    }
}
