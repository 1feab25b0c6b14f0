//! A body whose sender signs it chunk by chunk: every signature is made anew with the credential's key while the chunks pass,
//! in as many bytes as before. Never holds more than one chunk, and never lets one pass that it does not understand.
//!
//! ```text
//! SIZE;chunk-signature=…\r\n DATA \r\n … 0;chunk-signature=…\r\n [name:value\r\n x-amz-trailer-signature:…\r\n] \r\n
//! ```

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use aws_lc_rs::hmac;
use bytes::{Buf as _, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

use super::canonical::{ALGORITHM, Scope, digest_of, signature};
use crate::body::{Body, BoxError};

/// The largest chunk, in bytes.
pub(super) const CHUNK_BYTES_MAX: usize = 1 << 20;

/// The longest line before a chunk, in bytes.
const LINE_BYTES_MAX: usize = 256;

/// The most bytes of trailers.
const TRAILERS_BYTES_MAX: usize = 8 << 10;

/// How many digits a signature has; those of the sender's are replaced by as many.
const DIGITS: usize = 64;

const SIGNATURE: &str = ";chunk-signature=";
const LAST: &str = "x-amz-trailer-signature:";

/// Why a body cannot be signed while it passes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the body is no sequence of signed chunks")]
    Form,
    #[error("a signed chunk has at most {CHUNK_BYTES_MAX} bytes")]
    Large,
    #[error("the body ends in the middle of a signed chunk")]
    Short,
}

/// Makes the signatures, each of which holds on to the one before.
pub(super) struct Chain {
    key: hmac::Key,
    scope: Scope,
    last: String,
}

impl Chain {
    /// A chain that begins with the signature of the request itself.
    pub(super) fn new(key: hmac::Key, scope: Scope, first: String) -> Self {
        Self {
            key,
            scope,
            last: first,
        }
    }

    fn chunk(&mut self, data: &[u8]) -> &str {
        let of = format!("{}\n{}", digest_of(b""), digest_of(data));
        self.sign("PAYLOAD", &of)
    }

    fn trailers(&mut self, canonical: &[u8]) -> &str {
        self.sign("TRAILER", &digest_of(canonical))
    }

    fn sign(&mut self, what: &str, of: &str) -> &str {
        let Scope { stamp, words } = &self.scope;
        let last = &self.last;
        let text = format!("{ALGORITHM}-{what}\n{stamp}\n{words}\n{last}\n{of}");
        self.last = signature(&self.key, &text);
        &self.last
    }
}

enum State {
    /// Before a chunk.
    Line,
    /// In a chunk of so many bytes, whose size was written so.
    Data(usize, String),
    /// Behind the last chunk, before trailers.
    Trailers,
    /// Behind the last chunk, where an empty line must be.
    End,
    /// Behind that.
    Over,
}

/// What turns one body into the other.
struct Signer {
    chain: Chain,
    has_trailers: bool,
    held: BytesMut,
    state: State,
}

impl Signer {
    /// What can go on of all that has come.
    fn next(&mut self) -> Result<Option<Bytes>, Unreadable> {
        match &self.state {
            State::Line => self.line(),
            State::Data(size, written) => {
                let (size, written) = (*size, written.clone());
                self.data(size, &written)
            }
            State::Trailers => self.trailers(),
            State::End => match &self.held[..] {
                b"" | b"\r" => Ok(None),
                b"\r\n" => {
                    self.state = State::Over;
                    Ok(Some(self.held.split().freeze()))
                }
                _ => Err(Unreadable::Form),
            },
            State::Over if self.held.is_empty() => Ok(None),
            State::Over => Err(Unreadable::Form),
        }
    }

    fn line(&mut self) -> Result<Option<Bytes>, Unreadable> {
        let Some(line) = take_line(&mut self.held, LINE_BYTES_MAX)? else {
            return Ok(None);
        };
        let (size, digits) = line.split_once(SIGNATURE).ok_or(Unreadable::Form)?;
        if size.is_empty()
            || !size.bytes().all(|byte| byte.is_ascii_hexdigit())
            || !is_signature(digits)
        {
            return Err(Unreadable::Form);
        }
        let bytes = usize::from_str_radix(size, 16).map_err(|_| Unreadable::Large)?;
        if bytes > CHUNK_BYTES_MAX {
            return Err(Unreadable::Large);
        }
        if bytes > 0 {
            self.state = State::Data(bytes, size.to_owned());
            return self.next();
        }
        self.state = if self.has_trailers {
            State::Trailers
        } else {
            State::End
        };
        let signed = self.chain.chunk(b"");
        Ok(Some(format!("{size}{SIGNATURE}{signed}\r\n").into()))
    }

    fn data(&mut self, size: usize, written: &str) -> Result<Option<Bytes>, Unreadable> {
        let whole = size + 2;
        if self.held.len() < whole {
            return Ok(None);
        }
        let chunk = self.held.split_to(whole);
        if !chunk.ends_with(b"\r\n") {
            return Err(Unreadable::Form);
        }
        let signed = self.chain.chunk(&chunk[..size]);
        let line = format!("{written}{SIGNATURE}{signed}\r\n");
        self.state = State::Line;
        Ok(Some([line.as_bytes(), &chunk].concat().into()))
    }

    /// All trailers, once their signature is there.
    fn trailers(&mut self) -> Result<Option<Bytes>, Unreadable> {
        let text = std::str::from_utf8(&self.held).map_err(|_| Unreadable::Form)?;
        if text.len() > TRAILERS_BYTES_MAX {
            return Err(Unreadable::Form);
        }
        let mut canonical = String::new();
        let mut rest = text;
        while let Some((line, behind)) = rest.split_once("\r\n") {
            if let Some(digits) = line.strip_prefix(LAST) {
                if !is_signature(digits.trim_start()) {
                    return Err(Unreadable::Form);
                }
                let kept = text.len() - behind.len() - 2 - DIGITS;
                let signed = self.chain.trailers(canonical.as_bytes()).to_owned();
                let before = self.held.split_to(kept);
                self.held.advance(DIGITS + 2);
                self.state = State::End;
                return Ok(Some([&before, signed.as_bytes(), b"\r\n"].concat().into()));
            }
            let line = line.strip_suffix('\n').unwrap_or(line);
            let (name, value) = line.split_once(':').ok_or(Unreadable::Form)?;
            canonical += &format!("{}:{}\n", name.to_ascii_lowercase(), value.trim());
            rest = behind;
        }
        Ok(None)
    }
}

fn is_signature(digits: &str) -> bool {
    digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn take_line(held: &mut BytesMut, max: usize) -> Result<Option<String>, Unreadable> {
    let Some(end) = held.iter().take(max).position(|byte| *byte == b'\n') else {
        return if held.len() >= max {
            Err(Unreadable::Form)
        } else {
            Ok(None)
        };
    };
    let line = held.split_to(end + 1);
    let line = line.strip_suffix(b"\r\n").ok_or(Unreadable::Form)?;
    let line = std::str::from_utf8(line).map_err(|_| Unreadable::Form)?;
    Ok(Some(line.to_owned()))
}

/// A body with signatures of ours.
struct Resigned {
    inner: Body,
    signer: Signer,
}

/// The same body with every signature made by this chain.
pub(super) fn resigned(inner: Body, chain: Chain, has_trailers: bool) -> Body {
    let signer = Signer {
        chain,
        has_trailers,
        held: BytesMut::new(),
        state: State::Line,
    };
    Resigned { inner, signer }.boxed_unsync()
}

impl http_body::Body for Resigned {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            match this.signer.next() {
                Ok(Some(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Ok(None) => {}
                Err(unreadable) => return Poll::Ready(Some(Err(unreadable.into()))),
            }
            match ready!(Pin::new(&mut this.inner).poll_frame(context)) {
                Some(Ok(frame)) => {
                    // Trailers of HTTP itself have no place behind such a body.
                    let data = frame.into_data().unwrap_or_default();
                    this.signer.held.extend_from_slice(&data);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None if matches!(this.signer.state, State::Over) => return Poll::Ready(None),
                None => return Poll::Ready(Some(Err(Unreadable::Short.into()))),
            }
        }
    }

    /// Every signature has as many digits as the one that it stands for.
    fn size_hint(&self) -> SizeHint {
        let held = self.signer.held.len() as u64;
        let inner = self.inner.size_hint();
        match inner.exact() {
            Some(left) if matches!(self.signer.state, State::Line) => {
                SizeHint::with_exact(left + held)
            }
            _ => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    /// The keys and the day of Amazon's examples ("Signature Calculations for … Multiple Chunks", with and without trailers).
    fn chain(first: &str) -> Chain {
        let scope = Scope::at(1_369_353_600_000, "us-east-1", "s3").unwrap();
        let key = scope.key(b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        Chain::new(key, scope, first.to_owned())
    }

    const PLAIN: [&str; 4] = [
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ];

    const TRAILED: [&str; 5] = [
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435",
    ];

    fn body(signatures: &[&str]) -> String {
        let last = match signatures.get(4) {
            Some(last) => format!("x-amz-checksum-crc32c:sOO8/Q==\r\n{LAST}{last}\r\n\r\n"),
            None => "\r\n".to_owned(),
        };
        format!(
            "10000{SIGNATURE}{}\r\n{}\r\n400{SIGNATURE}{}\r\n{}\r\n0{SIGNATURE}{}\r\n{last}",
            signatures[1],
            "a".repeat(65_536),
            signatures[2],
            "a".repeat(1024),
            signatures[3]
        )
    }

    async fn through(
        text: &str,
        piece: usize,
        (first, has_trailers): (&str, bool),
    ) -> Result<String, String> {
        let pieces: Vec<Result<_, BoxError>> = text
            .as_bytes()
            .chunks(piece)
            .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let inner = StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync();
        let collected = resigned(inner, chain(first), has_trailers).collect().await;
        let bytes = collected.map_err(|error| error.to_string())?.to_bytes();
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    const ZEROS: [&str; 5] =
        ["0000000000000000000000000000000000000000000000000000000000000000"; 5];

    #[tokio::test]
    async fn every_chunks_signature_is_made_anew_and_nothing_else_changes() {
        for piece in [1, 7, 4096, 1 << 20] {
            let signed = through(&body(&ZEROS[..4]), piece, (PLAIN[0], false))
                .await
                .unwrap();
            assert!(signed == body(&PLAIN), "in pieces of {piece}");
            let signed = through(&body(&ZEROS), piece, (TRAILED[0], true))
                .await
                .unwrap();
            assert!(signed == body(&TRAILED), "in pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn what_is_no_sequence_of_signed_chunks_goes_nowhere() {
        let zeros = ZEROS[0];
        let line = |size: &str| format!("{size}{SIGNATURE}{zeros}\r\n");
        let end = line("0") + "\r\n";
        for (text, why) in [
            (String::new(), Unreadable::Short),
            ("hello\r\n".to_owned(), Unreadable::Form),
            ("x".repeat(LINE_BYTES_MAX), Unreadable::Form),
            (line("-1") + "x\r\n" + &end, Unreadable::Form),
            (line("+1") + "x\r\n" + &end, Unreadable::Form),
            (line("100001"), Unreadable::Large),
            (line("fffffffffffffffff"), Unreadable::Large),
            (line("1") + "xy\r\n" + &end, Unreadable::Form),
            (line("1") + "x", Unreadable::Short),
            (line("1") + "x\r\n", Unreadable::Short),
            (line("0"), Unreadable::Short),
            (end.clone() + "more", Unreadable::Form),
            (line("0") + "a:b\r\n\r\n", Unreadable::Form),
            (format!("1{SIGNATURE}12\r\nx\r\n{end}"), Unreadable::Form),
        ] {
            let error = through(&text, 3, (PLAIN[0], false)).await.unwrap_err();
            assert_eq!(error, why.to_string(), "{text:?}");
        }
        let endless = line("0") + &"a:b\r\n".repeat(TRAILERS_BYTES_MAX);
        let error = through(&endless, 999, (PLAIN[0], true)).await.unwrap_err();
        assert_eq!(error, Unreadable::Form.to_string());
    }
}
