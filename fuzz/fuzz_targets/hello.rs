//! The peek at a ClientHello: the same answer in whatever pieces it comes, no byte lost, and no other name than a real TLS
//! server would read.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../proxy/src/intercept/hello.rs"]
#[allow(dead_code, unreachable_pub)]
mod hello;

use hello::{BadHello, Opening, Reader};

fn read(pieces: &[&[u8]]) -> (Result<Option<Opening>, BadHello>, Vec<u8>, usize) {
    let mut reader = Reader::default();
    let mut taken = 0;
    for piece in pieces {
        taken += piece.len();
        match reader.push(piece) {
            Ok(None) => {}
            done => return (done, reader.into_wire(), taken),
        }
    }
    (Ok(None), reader.into_wire(), taken)
}

fuzz_target!(|input: (u16, &[u8])| {
    let (at, bytes) = input;
    let (whole, wire, _) = read(&[bytes]);
    assert_eq!(wire, bytes, "a byte was lost");
    let (first, second) = bytes.split_at(usize::from(at).min(bytes.len()));
    let (pieces, wire, taken) = read(&[first, second]);
    assert_eq!(wire, &bytes[..taken], "a byte was lost between pieces");
    // A decision in the first piece stands; an error may show earlier in one piece than in two, and the other way round.
    if let (Ok(Some(one)), Ok(Some(two))) = (&whole, &pieces) {
        assert_eq!(one, two);
    }
    assert_eq!(whole.is_ok(), pieces.is_ok(), "{whole:?} {pieces:?}");
    if let Ok(Some(Opening::Tls(ours))) = &whole {
        if let Some(theirs) = server_name(bytes) {
            let ours = ours.name.as_deref().map(str::to_ascii_lowercase);
            assert_eq!(ours.as_deref(), Some(theirs.as_str()), "another name than a TLS server reads");
        }
    }
});

/// What rustls takes the server name for, where it takes the greeting at all.
fn server_name(bytes: &[u8]) -> Option<String> {
    let mut acceptor = rustls::server::Acceptor::default();
    let mut left = bytes;
    while !left.is_empty() {
        acceptor.read_tls(&mut left).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            return accepted.client_hello().server_name().map(str::to_ascii_lowercase);
        }
    }
    None
}
