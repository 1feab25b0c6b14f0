//! How messages of PostgreSQL's protocol are framed. Never reads beyond the message that it was asked for, so that what
//! follows can be passed on as it comes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest message of a login, in bytes; the longest real one is an error's.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a length, which counts itself.
const LENGTH_BYTES: usize = 4;

/// One message: what kind, and its body.
pub(super) async fn read<S>(from: &mut S) -> io::Result<(u8, Vec<u8>)>
where
    S: AsyncRead + Unpin,
{
    let kind = from.read_u8().await?;
    let length = usize::try_from(from.read_u32().await?).unwrap_or(usize::MAX);
    let length = length.checked_sub(LENGTH_BYTES);
    let length = length.filter(|length| *length <= BODY_BYTES_MAX);
    let length = length.ok_or(io::ErrorKind::InvalidData)?;
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok((kind, body))
}

/// A message of a kind.
pub(super) fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &unnamed(body)[..]].concat()
}

/// A message without a kind, as connections begin.
pub(super) fn unnamed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + LENGTH_BYTES).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), body].concat()
}

/// The text before the first zero, and what follows that; `None` where there is none.
pub(super) fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_is_read_to_its_end_and_no_further() {
        let mut bytes = &[&framed(b'R', &[0, 0, 0, 0])[..], b"rest"].concat()[..];
        assert_eq!(read(&mut bytes).await.unwrap(), (b'R', vec![0; 4]));
        assert_eq!(bytes, b"rest");
    }

    #[tokio::test]
    async fn a_length_that_cannot_be_is_none() {
        for mut bytes in [
            &b"R\0\0\0\x03"[..],
            b"R\xff\xff\xff\xff",
            b"R\0\0\0\x08\0",
            b"R\0",
        ] {
            assert!(read(&mut bytes).await.is_err(), "{bytes:?}");
        }
    }
}
