//! Forms of values, as programs write them. Never asserts on what a fake made.

use super::*;

fn has(value: &[u8], wanted: &[u8]) -> bool {
    of(value).iter().any(|form| *form.text == wanted)
}

#[test]
fn a_value_is_known_as_programs_write_it() {
    let value = b"a/b+c=d\"e\\f&g'h<k~m no1";
    for wanted in [
        &b"a/b+c=d\"e\\f&g'h<k~m no1"[..],
        b"a%2Fb%2Bc%3Dd%22e%5Cf%26g%27h%3Ck~m%20no1",
        b"a%2fb%2bc%3dd%22e%5cf%26g%27h%3ck~m%20no1",
        b"a%2Fb%2Bc%3Dd%22e%5Cf%26g'h%3Ck~m%20no1",
        b"a/b%2Bc%3Dd%22e%5Cf%26g%27h%3Ck~m%20no1",
        b"a%2Fb%2Bc%3Dd%22e%5Cf%26g%27h%3Ck%7Em+no1",
        b"a/b+c=d\\\"e\\\\f&g'h<k~m no1",
        b"a\\/b+c=d\\\"e\\\\f&g'h<k~m no1",
        b"a/b+c=d\\\"e\\\\f\\u0026g'h\\u003ck~m no1",
        b"a/b\\u002Bc=d\\u0022e\\\\f\\u0026g\\u0027h\\u003Ck~m no1",
        b"a/b+c=d&quot;e\\f&amp;g&#39;h&lt;k~m no1",
        b"612F622B633D6422655C66266727683C6B7E6D206E6F31",
        b"612f622b633d6422655c66266727683c6b7e6d206e6f31",
    ] {
        assert!(has(value, wanted), "{}", String::from_utf8_lossy(wanted));
    }
    assert!(has(
        "gr\u{fc}n\u{1f511}schl\u{fc}ssel".as_bytes(),
        br"gr\u00fcn\ud83d\udd11schl\u00fcssel"
    ));
}

#[test]
fn every_base64_of_a_text_that_holds_the_value_holds_one_of_its_forms() {
    let value = b"\xfb\xef\xbe sk?live>51H-x/y";
    for (before, after) in (0..7).flat_map(|before| (0..7).map(move |after| (before, after))) {
        let around = [&b"user:::"[..before], value, &b"@host.."[..after]].concat();
        for alphabet in [&STANDARD, &URL_SAFE] {
            let text = GeneralPurpose::new(alphabet, NO_PAD).encode(&around);
            let forms = of(value)
                .into_iter()
                .filter(|form| form.fill == Fill::Letter);
            let found = forms.filter(|form| {
                text.as_bytes()
                    .windows(form.text.len())
                    .any(|part| part == &**form.text)
            });
            assert!(found.count() >= 1, "{before} {after} {text}");
        }
    }
}

#[test]
fn a_value_that_could_be_guessed_is_not_looked_for() {
    for short in [
        &b""[..],
        b"x",
        b"123456789012345678901234",
        b"0123456789abcdef012",
        b"sk_gate_5f3a",
        b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7",
    ] {
        assert!(of(short).is_empty(), "{short:?}");
    }
    for long in [
        &b"1234567890123456789012345"[..],
        b"0123456789abcdef0123",
        b"sk_gate_5f3a_9b1c",
        b"Zx9Zx9Zx9Zx9Zx",
    ] {
        assert!(!of(long).is_empty(), "{long:?}");
        assert!(of(long).iter().all(|form| form.text.len() >= 10));
    }
}

#[test]
fn of_a_long_value_every_piece_is_known_and_no_form_is_long_or_has_a_line_break() {
    let line = |seed: usize| {
        (0..64)
            .map(|at| b'A' + u8::try_from((at * 7 + seed) % 26).unwrap())
            .collect::<Vec<u8>>()
    };
    let lines: Vec<_> = (0..20).map(line).collect();
    let pem = [
        b"-----BEGIN PRIVATE KEY-----\n",
        &*lines.join(&b'\n'),
        b"\n-----END PRIVATE KEY-----",
    ]
    .concat();
    assert!(!has(&pem, b"-----BEGIN PRIVATE KEY-----"));
    for line in &lines {
        assert!(has(&pem, line));
    }
    let long = [&*lines.concat(), b"the end of it."].concat();
    let forms = of(&long);
    assert!(
        forms
            .iter()
            .all(|form| form.text.len() <= PIECE_BYTES_MAX * 6)
    );
    assert!(
        forms.iter().any(
            |form| form.text.ends_with(b"the end of it.") && form.text.len() == PIECE_BYTES_MAX
        )
    );
    let endless = vec![b'x'; 64 * 1024];
    assert!(of(&[&*endless, &*long].concat()).len() < 20);
    assert!(
        !of(&pem)
            .iter()
            .chain(&forms)
            .any(|form| form.text.iter().any(|byte| matches!(byte, b'\n' | b'\r')))
    );
}

#[test]
fn what_is_warned_of_as_too_short_is_looked_for_in_no_case() {
    let all = "aB3-!\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}".as_bytes();
    let short = usize::try_from(VALUE_BYTES_MIN - 1).unwrap();
    assert!(of(&all[..short]).is_empty());
    assert!(!of(&all[..=short]).is_empty());
}
