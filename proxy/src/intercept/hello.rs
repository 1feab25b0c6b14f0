//! The first bytes of a connection: a TLS ClientHello, in however many records and pieces, or something else. Reads the
//! two things that matter, the server name and whether the hello is encrypted, and never answers.
//!
//! ```text
//! bytes ─▶ records (≤ 16 KiB each) ─▶ one handshake message (≤ 32 KiB) ─▶ extensions ─▶ Hello
//! ```

/// The longest ClientHello, in bytes; with post-quantum key shares usual ones have two KiB, some more than sixteen.
const HELLO_BYTES_MAX: usize = 32 * 1024;

/// The most bytes on the wire that a hello may take, record headers included.
const WIRE_BYTES_MAX: usize = 64 * 1024;

/// The longest record before encryption (RFC 8446 section 5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// A record's content type for handshakes, and the handshake message's type for a ClientHello.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Extension numbers: server name, encrypted ClientHello, and the draft that came before it.
const SERVER_NAME: u16 = 0;
const ENCRYPTED_HELLO: u16 = 0xfe0d;
const ENCRYPTED_NAME: u16 = 0xffce;

/// What a connection begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Opening {
    /// A request in the clear.
    Plain,
    /// TLS.
    Tls(Hello),
}

/// What a ClientHello says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The server name, as written.
    pub(crate) name: Option<String>,
    /// Whether another hello is hidden inside (or pretends to be).
    pub(crate) hides_another: bool,
}

/// Why the first bytes are of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadHello {
    #[error("what came is neither TLS nor HTTP")]
    Neither,
    #[error("the TLS greeting is longer than {HELLO_BYTES_MAX} bytes")]
    TooLong,
    #[error("the TLS greeting is malformed")]
    Malformed,
    #[error("the TLS greeting names more than one server")]
    TwoNames,
}

/// Puts a hello together from pieces, looking at each byte once.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    wire: Vec<u8>,
    /// How much of `wire` has been taken into `message`.
    taken: usize,
    message: Vec<u8>,
}

impl Reader {
    /// All bytes so far, for whoever reads the connection next.
    pub(crate) fn into_wire(self) -> Vec<u8> {
        self.wire
    }

    /// Takes the next bytes in; `None` while more are needed.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Option<Opening>, BadHello> {
        self.wire.extend_from_slice(bytes);
        match self.wire.first() {
            None => return Ok(None),
            Some(&HANDSHAKE) => {}
            Some(first) if first.is_ascii_uppercase() => return Ok(Some(Opening::Plain)),
            Some(_) => return Err(BadHello::Neither),
        }
        if self.wire.len() > WIRE_BYTES_MAX {
            return Err(BadHello::TooLong);
        }
        while let Some(fragment) = next_record(&self.wire[self.taken..])? {
            self.message.extend_from_slice(fragment);
            self.taken += RECORD_HEAD + fragment.len();
            if let Some(hello) = whole(&self.message)? {
                return Ok(Some(Opening::Tls(hello)));
            }
        }
        Ok(None)
    }
}

const RECORD_HEAD: usize = 5;

/// The content of the record that the bytes begin with; `None` while it is not whole.
fn next_record(bytes: &[u8]) -> Result<Option<&[u8]>, BadHello> {
    let Some((head, rest)) = bytes.split_first_chunk::<RECORD_HEAD>() else {
        return Ok(None);
    };
    let [kind, major, _minor, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if kind != HANDSHAKE || major != 3 || length == 0 || length > RECORD_BYTES_MAX {
        return Err(BadHello::Malformed);
    }
    Ok(rest.get(..length))
}

/// The hello, once the message is whole.
fn whole(message: &[u8]) -> Result<Option<Hello>, BadHello> {
    let Some((head, body)) = message.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let [kind, high, middle, low] = *head;
    let length = usize::try_from(u32::from_be_bytes([0, high, middle, low]));
    let length = length.map_err(|_| BadHello::TooLong)?;
    if kind != CLIENT_HELLO {
        return Err(BadHello::Malformed);
    }
    if length > HELLO_BYTES_MAX {
        return Err(BadHello::TooLong);
    }
    if body.len() > length {
        // Nothing may follow a hello before it is answered.
        return Err(BadHello::Malformed);
    }
    if body.len() < length {
        return Ok(None);
    }
    client_hello(body).map(Some)
}

fn client_hello(body: &[u8]) -> Result<Hello, BadHello> {
    let mut body = Cursor(body);
    // Version and random; session id, cipher suites and compression methods say nothing here.
    body.take(2 + 32)?;
    body.short_vector()?;
    body.long_vector()?;
    body.short_vector()?;
    let mut hello = Hello::default();
    if body.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Cursor(body.long_vector()?);
    body.end()?;
    let mut named = false;
    while !extensions.0.is_empty() {
        let number = extensions.number()?;
        let content = extensions.long_vector()?;
        match number {
            SERVER_NAME if named => return Err(BadHello::TwoNames),
            SERVER_NAME => {
                named = true;
                hello.name = Some(server_name(content)?);
            }
            ENCRYPTED_HELLO | ENCRYPTED_NAME => hello.hides_another = true,
            _ => {}
        }
    }
    Ok(hello)
}

/// RFC 6066 section 3: a list that has had one kind of entry ever since, and may have one of each kind.
fn server_name(content: &[u8]) -> Result<String, BadHello> {
    let mut content = Cursor(content);
    let mut list = Cursor(content.long_vector()?);
    content.end()?;
    if list.take(1)? != [0] {
        return Err(BadHello::Malformed);
    }
    let name = list.long_vector()?;
    if !list.0.is_empty() {
        return Err(BadHello::TwoNames);
    }
    String::from_utf8(name.to_vec()).map_err(|_| BadHello::Malformed)
}

/// What is left to read of a message.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], BadHello> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(BadHello::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u16, BadHello> {
        let bytes = self.take(2)?.try_into();
        bytes
            .map(u16::from_be_bytes)
            .map_err(|_| BadHello::Malformed)
    }

    /// A vector with one byte of length.
    fn short_vector(&mut self) -> Result<&'a [u8], BadHello> {
        let length = self.take(1)?.first().copied().unwrap_or(0);
        self.take(usize::from(length))
    }

    /// A vector with two bytes of length.
    fn long_vector(&mut self) -> Result<&'a [u8], BadHello> {
        let length = self.number()?;
        self.take(usize::from(length))
    }

    fn end(&self) -> Result<(), BadHello> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(BadHello::Malformed)
        }
    }
}

#[cfg(test)]
mod tests;
