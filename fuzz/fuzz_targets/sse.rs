//! Event streams: the same events in whatever pieces the bytes come, and an encoded text is read back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_llm::sse::{Decoder, SseEvent, encode};

/// Longer than any input, so that only the limit's own test meets it.
const LIMIT_BYTES: usize = 1 << 20;

fn read(pieces: &[&[u8]], limit: usize) -> Option<Vec<SseEvent>> {
    let mut decoder = Decoder::new(limit);
    let mut events = Vec::new();
    for piece in pieces {
        events.extend(decoder.push(piece).ok()?);
    }
    Some(events)
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (one, two, bytes) = input;
    let whole = read(&[bytes], LIMIT_BYTES).expect("it is short");
    let (first, rest) = bytes.split_at(usize::from(one).min(bytes.len()));
    let (second, third) = rest.split_at(usize::from(two).min(rest.len()));
    assert_eq!(
        read(&[first, second, third], LIMIT_BYTES).as_ref(),
        Some(&whole)
    );
    let singly: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(&singly, LIMIT_BYTES).as_ref(), Some(&whole));
    if let Some(few) = read(&[bytes], 64) {
        assert_eq!(few, whole);
        assert!(few.iter().all(|event| event.data.len() <= 64));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let events = read(&[encode(text).as_bytes()], LIMIT_BYTES).expect("it is short");
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].data, text.replace('\r', "\n"));
    }
});
