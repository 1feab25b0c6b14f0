//! What is found, against a search that nobody could get wrong. Never a large text.

use proptest::prelude::*;

use super::*;

const VALUE: &[u8] = b"sk/live+51Hx\"yZ=09-abcdef";

fn scanner(values: &[&[u8]]) -> Scanner {
    Scanner::new(values.iter().copied(), 0x9e37_79b9_7f4a_7c15).unwrap()
}

fn found(scanner: &Scanner, text: &[u8]) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    scanner.find(text, &mut |found| all.push(found.place));
    all.sort_by_key(|place| place.start);
    all
}

#[test]
fn every_form_is_found_at_every_place() {
    let scanner = Arc::new(scanner(&[VALUE, b"another-value-of-the-same-tool"]));
    let all = Scanners::from_iter([Arc::clone(&scanner)]);
    for form in &scanner.forms {
        for before in 0..40 {
            let text = [&vec![b'.'; before][..], &form.text, &[b'.'; 3]].concat();
            let wanted = before..before + form.text.len();
            assert_eq!(found(&scanner, &text), vec![wanted]);
            let mut masked = text.clone();
            assert_eq!(all.mask(&mut masked), 1);
            assert!(
                masked[before..before + form.text.len()]
                    .iter()
                    .all(|byte| *byte == form.fill.byte())
            );
            assert!(found(&scanner, &masked).is_empty());
            assert_eq!(masked.len(), text.len());
        }
        for short in [&form.text[1..], &form.text[..form.text.len() - 1]] {
            assert!(!found(&scanner, short).contains(&(0..form.text.len())));
        }
    }
}

#[test]
fn a_value_that_overlaps_itself_is_masked_whole_and_counted_once() {
    let scanner = scanner(&[b"aBaBaBaBaBaBaBaB"]);
    let mut text = b"<aBaBaBaBaBaBaBaBaBaBaBa>".to_vec();
    assert_eq!(Scanners::from_iter([Arc::new(scanner)]).mask(&mut text), 1);
    assert_eq!(text, b"<**********************a>");
}

#[test]
fn nothing_is_made_of_values_that_are_too_short_and_nothing_is_printed() {
    assert!(Scanner::new([&b"short"[..], b""], 1).is_none());
    assert_eq!(format!("{:?}", scanner(&[VALUE])), "Scanner(..)");
}

proptest! {
    #[test]
    fn what_is_found_is_what_a_plain_search_finds(
        (key, text) in (any::<u64>(), prop::collection::vec(prop_oneof![
            Just(VALUE.to_vec()), Just(VALUE[3..].to_vec()), prop::collection::vec(any::<u8>(), 0..40),
            Just(hex::encode(VALUE).into_bytes()),
        ], 0..8))
    ) {
        let text = text.concat();
        let scanner = Scanner::new([VALUE], key).unwrap();
        let mut plainly: Vec<_> = scanner.forms.iter().flat_map(|form| {
            let windows = text.windows(form.text.len()).enumerate();
            windows.filter(|(_, window)| *window == &**form.text).map(|(at, _)| at..at + form.text.len()).collect::<Vec<_>>()
        }).collect();
        plainly.sort_by_key(|place| place.start);
        prop_assert_eq!(found(&scanner, &text), plainly);
    }
}
