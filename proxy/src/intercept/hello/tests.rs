//! Hellos as clients send them, and as they should not.

use super::*;

const ECH: u16 = ENCRYPTED_HELLO;

fn vector(content: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(content.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes
}

fn extension(number: u16, content: &[u8]) -> Vec<u8> {
    [number.to_be_bytes().to_vec(), vector(content)].concat()
}

fn named(names: &[&str]) -> Vec<u8> {
    let entries = names.iter().flat_map(|name| {
        let entry = [vec![0], vector(name.as_bytes())].concat();
        entry.into_iter()
    });
    extension(SERVER_NAME, &vector(&entries.collect::<Vec<_>>()))
}

/// A handshake message with these extensions.
fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0]);
    body.extend(vector(&[0x13, 1]));
    body.extend([1, 0]);
    body.extend(vector(&extensions.concat()));
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [vec![CLIENT_HELLO], length[1..].to_vec(), body].concat()
}

/// The message in records of at most this many bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let pieces = message.chunks(size);
    let records = pieces.map(|piece| [vec![HANDSHAKE, 3, 1], vector(piece)].concat());
    records.collect::<Vec<_>>().concat()
}

fn read(wire: &[u8]) -> Result<Option<Opening>, BadHello> {
    Reader::default().push(wire)
}

fn hello(name: &str) -> Opening {
    Opening::Tls(Hello {
        name: Some(name.to_owned()),
        hides_another: false,
    })
}

#[test]
fn the_name_is_found_in_any_number_of_records_and_pieces() {
    let message = message(&[extension(10, &[0, 2, 0, 29]), named(&["a.example"])]);
    for size in [1, 4, 50, message.len()] {
        let wire = records(&message, size);
        assert_eq!(read(&wire), Ok(Some(hello("a.example"))), "{size}");
        let mut reader = Reader::default();
        let (last, before) = wire.split_last().unwrap();
        for byte in before {
            assert_eq!(reader.push(&[*byte]), Ok(None), "{size}");
        }
        assert_eq!(reader.push(&[*last]), Ok(Some(hello("a.example"))));
        assert_eq!(reader.into_wire(), wire);
    }
}

#[test]
fn seventeen_kib_are_read_and_more_than_the_limit_is_not() {
    let large = |bytes: usize| message(&[extension(51, &vec![1; bytes]), named(&["a.example"])]);
    let wire = records(&large(17 * 1024), RECORD_BYTES_MAX);
    assert_eq!(read(&wire), Ok(Some(hello("a.example"))));
    let wire = records(&large(HELLO_BYTES_MAX), RECORD_BYTES_MAX);
    assert_eq!(read(&wire), Err(BadHello::TooLong));
    // One byte a record costs six on the wire.
    assert_eq!(read(&records(&large(17 * 1024), 1)), Err(BadHello::TooLong));
}

#[test]
fn a_hello_may_name_nobody_and_never_two() {
    assert_eq!(
        read(&records(&message(&[]), 500)),
        Ok(Some(Opening::Tls(Hello::default())))
    );
    for twice in [
        message(&[named(&["a.example"]), named(&["b.example"])]),
        message(&[named(&["a.example", "b.example"])]),
    ] {
        assert_eq!(read(&records(&twice, 500)), Err(BadHello::TwoNames));
    }
    assert_eq!(
        read(&records(&message(&[named(&[])]), 500)),
        Err(BadHello::Malformed)
    );
}

#[test]
fn a_hidden_hello_is_seen() {
    let wire = records(
        &message(&[named(&["front.example"]), extension(ECH, &[0; 90])]),
        500,
    );
    let Ok(Some(Opening::Tls(hello))) = read(&wire) else {
        panic!("no hello")
    };
    assert!(hello.hides_another);
    assert_eq!(hello.name.as_deref(), Some("front.example"));
}

#[test]
fn what_is_no_tls_is_http_or_nothing() {
    for text in ["GET / HTTP/1.1\r\n", "PRI * HTTP/2.0", "P"] {
        assert_eq!(read(text.as_bytes()), Ok(Some(Opening::Plain)), "{text}");
    }
    for bytes in [&b"\0\0"[..], b"ssh-2", b"\x80\x2e\x01", b"get / "] {
        assert_eq!(read(bytes), Err(BadHello::Neither), "{bytes:?}");
    }
}

#[test]
fn a_hello_that_is_cut_or_bent_is_malformed_and_never_a_panic() {
    let good = message(&[named(&["a.example"]), extension(ECH, &[])]);
    for at in 0..good.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bent = good.clone();
            bent[at] = value;
            drop(read(&records(&bent, 64)));
        }
    }
    let mut follows = good.clone();
    follows.push(0);
    assert_eq!(read(&records(&follows, 500)), Err(BadHello::Malformed));
    for wire in [
        &[22, 3, 1, 0, 0][..],
        &[22, 2, 0, 0, 1, 1],
        &[22, 3, 1, 0xff, 0xff],
        &[22, 3, 1, 0, 1, 2, 21, 3, 1, 0, 1, 2],
        &[22, 3, 1, 0, 4, 2, 0, 0, 1],
    ] {
        assert_eq!(read(wire), Err(BadHello::Malformed), "{wire:?}");
    }
}
