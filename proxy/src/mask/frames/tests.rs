//! WebSockets by hand, frame by frame. Never a connection.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::mask::{Hits, Hold, Scanner};

const VALUE: &str = "sk_live_51Hxy-Z09abcdef";

fn sieve(hold: Hold, most: u32) -> Sieve {
    let scanner = Scanner::new([VALUE.as_bytes()], 0x9e37_79b9_7f4a_7c15).unwrap();
    let scanner = [Arc::new(scanner)].into_iter().collect();
    let tally = Tally {
        call: Hits::default(),
        echoes: Arc::default(),
        whose: None,
        most,
    };
    Sieve::new(Pass::new(scanner, hold), tally)
}

/// A frame: the kind with its first bit where the message ends with it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length @ ..126) => bytes.push(u8::try_from(length).unwrap()),
        Ok(length) => {
            bytes.push(126);
            bytes.extend(length.to_be_bytes());
        }
        Err(_) => {
            bytes.push(127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

fn sifted(sieve: &mut Sieve, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    sieve.push(bytes, &mut out).unwrap();
    out
}

#[test]
fn a_message_is_masked_and_leaves_whole_when_its_last_byte_is_there() {
    let stars = "*".repeat(VALUE.len());
    for (first, hold) in [
        (0x81, Hold::Window),
        (0x82, Hold::Window),
        (0x81, Hold::Nothing),
    ] {
        let mut sieve = sieve(hold, 100);
        for length in [0, 100, 70_000] {
            let text = format!("{{\"key\":\"{VALUE}\"}}{}", "x".repeat(length));
            let out = sifted(&mut sieve, &frame(first, text.as_bytes()));
            assert_eq!(out, frame(first, text.replace(VALUE, &stars).as_bytes()));
        }
        assert_eq!(sieve.tally.call.get(), 3);
    }
}

#[test]
fn a_value_over_fragments_with_a_ping_between_is_masked_and_everything_keeps_its_place() {
    let (first, rest) = VALUE.split_at(9);
    let message = |first: &str, rest: &str, ping: &str| {
        [
            frame(0x01, first.as_bytes()),
            frame(0x89, ping.as_bytes()),
            frame(0x00, b""),
            frame(0x80, rest.as_bytes()),
            frame(0x8a, b""),
        ]
        .concat()
    };
    let plain = message(first, rest, VALUE);
    let masked = message(
        &"*".repeat(9),
        &"*".repeat(rest.len()),
        &"*".repeat(VALUE.len()),
    );
    assert_eq!(sifted(&mut sieve(Hold::Window, 100), &plain), masked);
    let mut singly = sieve(Hold::Window, 100);
    let out: Vec<u8> = plain
        .iter()
        .flat_map(|byte| sifted(&mut singly, &[*byte]))
        .collect();
    assert_eq!(out, masked);
    // Where nothing is held back what came before the end has left.
    let out = sifted(&mut sieve(Hold::Nothing, 100), &plain);
    assert_eq!(
        out,
        message(first, &"*".repeat(rest.len()), &"*".repeat(VALUE.len()))
    );
}

#[test]
fn what_is_no_frame_of_a_server_ends_the_socket() {
    for (bytes, wanted) in [
        (&b"\x81\x80"[..], NoFrame::Masked),
        (b"\xc1\x00", NoFrame::Unknown),
        (b"\x83\x00", NoFrame::Unknown),
        (b"HELLO", NoFrame::Unknown),
        (b"\x80\x00", NoFrame::OutOfPlace),
        (b"\x01\x00\x01\x00", NoFrame::OutOfPlace),
        (b"\x09\x00", NoFrame::Long),
        (b"\x89\x7e\x00\x7e", NoFrame::Long),
        (b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", NoFrame::Long),
    ] {
        let error = sieve(Hold::Window, 100)
            .push(bytes, &mut Vec::new())
            .unwrap_err();
        assert_eq!(error.to_string(), wanted.to_string(), "{bytes:?}");
    }
    let mut endless = sieve(Hold::Window, 100);
    sifted(&mut endless, &frame(0x01, b"begins"));
    let pieces = frame(0x00, b"").repeat(BETWEEN_BYTES_MAX);
    let error = endless.push(&pieces, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), NoFrame::Pieces.to_string());
}

#[test]
fn too_many_echoes_end_the_socket() {
    let mut sieve = sieve(Hold::Window, 1);
    let message = frame(0x81, VALUE.as_bytes());
    sifted(&mut sieve, &message);
    assert!(sieve.push(&message, &mut Vec::new()).is_err());
}

proptest! {
    #[test]
    fn however_the_bytes_come_the_same_frames_leave(
        messages in prop::collection::vec(prop::collection::vec((prop_oneof![Just(VALUE.as_bytes().to_vec()), Just(VALUE.as_bytes()[..7].to_vec()), prop::collection::vec(any::<u8>(), 0..200)], any::<bool>()), 1..5), 1..4),
        cuts in prop::collection::vec(1_usize..60, 1..60),
    ) {
        let mut bytes = Vec::new();
        for message in &messages {
            let last = message.len() - 1;
            for (at, (payload, ping)) in message.iter().enumerate() {
                let kind = if at == 0 { 0x02 } else { 0 } | if at == last { 0x80 } else { 0 };
                bytes.extend(frame(kind, payload));
                if *ping {
                    bytes.extend(frame(0x89, b"ping"));
                }
            }
        }
        let whole = sifted(&mut sieve(Hold::Window, 100), &bytes);
        let mut sieve = sieve(Hold::Window, 100);
        let (mut out, mut rest) = (Vec::new(), &*bytes);
        for cut in cuts.iter().chain([&usize::MAX]) {
            let (piece, more) = rest.split_at((*cut).min(rest.len()));
            rest = more;
            out.extend(sifted(&mut sieve, piece));
        }
        prop_assert_eq!(out.len(), bytes.len());
        prop_assert_eq!(out, whole);
    }
}
