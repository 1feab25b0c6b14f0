//! Bodies that come encoded although nobody asked, or because their tool wants it: decoded as they pass, so that they can be
//! looked through. Never holds more than one step's worth, and never passes on what it cannot read.

use std::{
    io::{self, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};
use http_body::Frame;
use http_body_util::BodyExt as _;

use crate::body::{Body, BoxError};

/// What an upstream may choose from.
pub(super) const NAMES: &str = "gzip, deflate";

/// What is decoded in one step, in bytes: a thousand times that may come of it.
const STEP_BYTES: usize = 1024;

/// The most that may come of one body, in bytes.
const DECODED_BYTES_MAX: u64 = 1 << 30;

/// An answer in an encoding that cannot be looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the upstream's answer is in an encoding that the gate did not ask for and does not read")]
pub(crate) struct Encoded;

/// Why an encoded body ends before its end.
#[derive(Debug, thiserror::Error)]
enum NotDecoded {
    #[error("the upstream's answer is not in the encoding that it says: {0}")]
    Broken(#[from] io::Error),
    #[error("the upstream's answer is longer than {DECODED_BYTES_MAX} bytes once it is decoded")]
    Long,
}

/// An encoding that can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
}

/// The encoding of an answer with this head; `None` where it has none.
pub(super) fn coding(fields: &HeaderMap) -> Result<Option<Coding>, Encoded> {
    let is_plain = |name: &str| {
        let mut values = fields.get_all(name).iter();
        values.all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"))
    };
    if !is_plain("grpc-encoding") {
        return Err(Encoded);
    }
    if is_plain(header::CONTENT_ENCODING.as_str()) {
        return Ok(None);
    }
    let mut values = fields.get_all(header::CONTENT_ENCODING).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Encoded);
    };
    match &*value.as_bytes().trim_ascii().to_ascii_lowercase() {
        b"gzip" | b"x-gzip" => Ok(Some(Coding::Gzip)),
        b"deflate" => Ok(Some(Coding::Deflate)),
        _ => Err(Encoded),
    }
}

/// The body without its encoding.
pub(super) fn body(inner: Body, coding: Coding) -> Body {
    Decoded {
        inner,
        coding,
        decoder: None,
        input: Bytes::new(),
        came: 0,
        trailers: None,
        over: false,
    }
    .boxed_unsync()
}

enum Decoder {
    Gzip(MultiGzDecoder<Vec<u8>>),
    Zlib(ZlibDecoder<Vec<u8>>),
    Raw(DeflateDecoder<Vec<u8>>),
}

impl Decoder {
    /// A decoder for a body that begins with this byte: what is called deflate is wrapped in zlib, or it is not.
    fn new(coding: Coding, first: u8) -> Self {
        match coding {
            Coding::Gzip => Self::Gzip(MultiGzDecoder::new(Vec::new())),
            Coding::Deflate if first & 0x0f == 8 => Self::Zlib(ZlibDecoder::new(Vec::new())),
            Coding::Deflate => Self::Raw(DeflateDecoder::new(Vec::new())),
        }
    }

    /// Decodes some more.
    fn step(&mut self, input: &[u8]) -> io::Result<Vec<u8>> {
        let out = match self {
            Self::Gzip(decoder) => {
                decoder.write_all(input)?;
                decoder.flush()?;
                decoder.get_mut()
            }
            Self::Zlib(decoder) => {
                decoder.write_all(input)?;
                decoder.flush()?;
                decoder.get_mut()
            }
            Self::Raw(decoder) => {
                decoder.write_all(input)?;
                decoder.flush()?;
                decoder.get_mut()
            }
        };
        Ok(std::mem::take(out))
    }

    /// What is left, if the encoding is at its end.
    fn finish(&mut self) -> io::Result<Vec<u8>> {
        let out = match self {
            Self::Gzip(decoder) => {
                decoder.try_finish()?;
                decoder.get_mut()
            }
            Self::Zlib(decoder) => {
                decoder.try_finish()?;
                decoder.get_mut()
            }
            Self::Raw(decoder) => {
                decoder.try_finish()?;
                decoder.get_mut()
            }
        };
        Ok(std::mem::take(out))
    }
}

struct Decoded {
    inner: Body,
    coding: Coding,
    decoder: Option<Decoder>,
    /// What came and is not decoded yet.
    input: Bytes,
    /// How much was decoded.
    came: u64,
    trailers: Option<HeaderMap>,
    over: bool,
}

impl Decoded {
    /// The next bytes of what is there already; empty where there is nothing more in it.
    fn next(&mut self) -> Result<Bytes, NotDecoded> {
        while let Some(first) = self.input.first().copied() {
            let step = self.input.len().min(STEP_BYTES);
            let decoder = self
                .decoder
                .get_or_insert_with(|| Decoder::new(self.coding, first));
            let out = decoder.step(&self.input[..step])?;
            self.input.advance(step);
            if !out.is_empty() {
                return self.counted(out);
            }
        }
        Ok(Bytes::new())
    }

    /// What is left at the end.
    fn end(&mut self) -> Result<Bytes, NotDecoded> {
        self.over = true;
        let rest = self.decoder.as_mut().map(Decoder::finish).transpose()?;
        self.counted(rest.unwrap_or_default())
    }

    fn counted(&mut self, out: Vec<u8>) -> Result<Bytes, NotDecoded> {
        self.came += out.len() as u64;
        if self.came > DECODED_BYTES_MAX {
            return Err(NotDecoded::Long);
        }
        Ok(out.into())
    }
}

impl http_body::Body for Decoded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            let out = this.next()?;
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
            if this.over {
                return Poll::Ready(this.trailers.take().map(|last| Ok(Frame::trailers(last))));
            }
            let next = ready!(Pin::new(&mut this.inner).poll_frame(context)).transpose()?;
            match next.map(Frame::into_data) {
                Some(Ok(data)) => this.input = data,
                last => {
                    this.trailers = last.and_then(|frame| frame.err()?.into_trailers().ok());
                    let rest = this.end()?;
                    if !rest.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(rest))));
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over && self.trailers.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    async fn decoded(coding: Coding, encoded: &[u8], pieces: usize) -> Result<Bytes, BoxError> {
        let frames: Vec<_> = encoded
            .chunks(pieces)
            .map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let inner = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
        Ok(body(inner.boxed_unsync(), coding)
            .collect()
            .await?
            .to_bytes())
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoded = Vec::new();
        flate2::read::GzEncoder::new(text, flate2::Compression::fast())
            .read_to_end(&mut encoded)
            .unwrap();
        encoded
    }

    #[tokio::test]
    async fn what_was_encoded_comes_out_as_it_was_in_whatever_pieces() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let (mut zlib, mut raw) = (Vec::new(), Vec::new());
        flate2::read::ZlibEncoder::new(&*text, flate2::Compression::fast())
            .read_to_end(&mut zlib)
            .unwrap();
        flate2::read::DeflateEncoder::new(&*text, flate2::Compression::fast())
            .read_to_end(&mut raw)
            .unwrap();
        let members = [gzip(&text[..1000]), gzip(&text[1000..])].concat();
        for (coding, encoded) in [
            (Coding::Gzip, gzip(&text)),
            (Coding::Gzip, members),
            (Coding::Deflate, zlib),
            (Coding::Deflate, raw),
        ] {
            for pieces in [7, 1000, 1 << 20] {
                assert_eq!(decoded(coding, &encoded, pieces).await.unwrap(), text);
            }
        }
        assert_eq!(decoded(Coding::Gzip, b"", 1).await.unwrap(), "");
    }

    #[tokio::test]
    async fn half_an_encoding_or_none_is_no_body() {
        let encoded = gzip(b"some text");
        for broken in [&encoded[..encoded.len() - 4], b"some text", &encoded[1..]] {
            assert!(decoded(Coding::Gzip, broken, 5).await.is_err());
        }
        assert!(decoded(Coding::Deflate, b"some text", 5).await.is_err());
    }

    #[tokio::test]
    async fn a_bomb_goes_off_in_steps() {
        let encoded = gzip(&vec![0; 4 << 20]);
        let inner = crate::body::full(encoded);
        let mut body = body(inner, Coding::Gzip);
        let mut sum = 0;
        while let Some(frame) = body.frame().await {
            let length = frame.unwrap().data_ref().map_or(0, Bytes::len);
            assert!(length <= STEP_BYTES * 2048, "{length}");
            sum += length;
        }
        assert_eq!(sum, 4 << 20);
    }

    #[test]
    fn what_cannot_be_undone_is_told_from_what_is_plain() {
        let of = |fields: &[(&'static str, &'static str)]| {
            let fields = fields.iter().map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    http::HeaderValue::from_static(value),
                )
            });
            let mut map = HeaderMap::new();
            for (name, value) in fields {
                map.append(name, value);
            }
            coding(&map)
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("content-encoding", "Identity")]), Ok(None));
        assert_eq!(of(&[("content-encoding", "GZip")]), Ok(Some(Coding::Gzip)));
        for odd in ["br", "gzip, gzip", "gzip,", "aws-chunked", ""] {
            assert_eq!(of(&[("content-encoding", odd)]), Err(Encoded), "{odd}");
        }
        assert_eq!(
            of(&[("content-encoding", "gzip"), ("content-encoding", "gzip")]),
            Err(Encoded)
        );
        assert_eq!(of(&[("grpc-encoding", "gzip")]), Err(Encoded));
    }
}
