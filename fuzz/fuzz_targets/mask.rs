//! Masking: in whatever pieces an answer comes, what leaves is as long as what came, and where a window is held back it is what
//! masking all of it at once makes; nothing that was looked for is left.
#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

#[path = "../../proxy/src/mask/forms.rs"]
#[allow(dead_code, unreachable_pub)]
mod forms;

#[path = "../../proxy/src/mask/pass.rs"]
#[allow(dead_code, unreachable_pub)]
mod pass;

#[path = "../../proxy/src/mask/scanner.rs"]
#[allow(dead_code, unreachable_pub)]
mod scanner;

use pass::{Hold, Pass};
use scanner::{Scanner, Scanners};

/// Over 80 bits, with a byte that is escaped in URLs and one in JSON.
const SECRET: &[u8] = b"q7/Zk\"v9-Xw3Lr8_Tn2Bd5";

/// A byte of the input that stands for the whole secret: it would not be guessed.
const HERE: u8 = 0xfe;

fn came(bytes: &[u8]) -> Vec<u8> {
    let spelt = |byte: &u8| match *byte {
        HERE => SECRET.to_vec(),
        other => vec![other],
    };
    bytes.iter().flat_map(spelt).collect()
}

fn passed(hold: Hold, scanners: &Scanners, pieces: &[&[u8]]) -> (Vec<u8>, u32) {
    let mut pass = Pass::new(scanners.clone(), hold);
    let mut left = Vec::new();
    for piece in pieces {
        left.extend(pass.push(Bytes::copy_from_slice(piece), 0));
        assert!(pass.held() <= pass.window());
    }
    left.extend(pass.finish());
    (left, pass.hits())
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (one, two, bytes) = input;
    let text = came(bytes);
    let scanner = Scanner::new([SECRET], 0x9e37_79b9_7f4a_7c15).expect("it is worth it");
    let scanners: Scanners = [Arc::new(scanner)].into_iter().collect();
    let mut whole = text.clone();
    let hits = scanners.mask(&mut whole);
    assert_eq!(whole.len(), text.len());
    assert!(!whole.windows(SECRET.len()).any(|part| part == SECRET));
    let (first, rest) = text.split_at(usize::from(one).min(text.len()));
    let (second, third) = rest.split_at(usize::from(two).min(rest.len()));
    let singly: Vec<&[u8]> = text.chunks(1).collect();
    for pieces in [&[first, second, third][..], &[&text], &singly] {
        assert_eq!(
            passed(Hold::Window, &scanners, pieces),
            (whole.clone(), hits)
        );
        assert_eq!(passed(Hold::Nothing, &scanners, pieces).0.len(), text.len());
    }
});
