//! How the agent's side of a tunnel begins that nobody will look into. A TLS greeting must name the host that was decided
//! on, and may not hide another behind it; whatever is no TLS passes, unless the tunnel is for TLS alone. Never answers,
//! and never keeps a byte.

use bytes::Bytes;
use postern_policy::Host;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::intercept::{BadHello, Opening, Reader, Uninvited, Unopened, agree_unread};

/// What one read takes at most, in bytes.
const CHUNK_BYTES: usize = 4 * 1024;

/// What is asked of the first bytes.
#[derive(Debug, Clone)]
pub(crate) struct Greeting {
    /// Whom the tunnel is for.
    pub(crate) host: Host,
    /// Whether it is for TLS alone.
    pub(crate) is_tls: bool,
}

impl Greeting {
    /// Reads until it is clear how the connection begins; these bytes are still to be sent.
    pub(crate) async fn read<S>(&self, from: &mut S) -> Result<Bytes, Uninvited>
    where
        S: AsyncRead + Unpin,
    {
        let mut reader = Reader::default();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let length = from.read(&mut chunk).await.map_err(Unopened::from)?;
            if length == 0 {
                return self.ended(reader);
            }
            match reader.push(&chunk[..length]) {
                Ok(None) => {}
                Ok(Some(Opening::Tls(hello))) => {
                    agree_unread(&hello, &self.host)?;
                    return Ok(reader.into_wire().into());
                }
                Ok(Some(Opening::Plain)) | Err(BadHello::Neither) if !self.is_tls => {
                    return Ok(reader.into_wire().into());
                }
                Ok(Some(Opening::Plain)) => return Err(Unopened::from(BadHello::Neither).into()),
                Err(bad) => return Err(Unopened::from(bad).into()),
            }
        }
    }

    /// Half a greeting is none; nothing at all is nothing to object to.
    fn ended(&self, reader: Reader) -> Result<Bytes, Uninvited> {
        let wire = reader.into_wire();
        if wire.is_empty() {
            return Ok(Bytes::new());
        }
        Err(Unopened::Ended.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(is_tls: bool, mut bytes: &[u8]) -> Result<Bytes, Uninvited> {
        let host = "a.example".parse().unwrap();
        Greeting { host, is_tls }.read(&mut bytes).await
    }

    #[tokio::test]
    async fn what_is_no_tls_passes_only_where_anything_may() {
        for bytes in [&b"SSH-2.0-x\r\n"[..], b"\0\0\0\x08\x04\xd2\x16\x2f"] {
            assert_eq!(read(false, bytes).await.unwrap(), bytes);
            assert!(matches!(
                read(true, bytes).await,
                Err(Uninvited::Unopened(_))
            ));
        }
        assert_eq!(read(true, b"").await.unwrap(), "");
    }

    #[tokio::test]
    async fn half_a_greeting_and_a_bent_one_are_none() {
        for bytes in [&[22, 3, 1, 0, 100, 1, 0][..], &[22, 9, 9, 0, 1, 0]] {
            let read = read(false, bytes).await;
            assert!(matches!(read, Err(Uninvited::Unopened(_))), "{read:?}");
        }
    }
}
