//! Frames between posternd and a worker: four bytes of length, big-endian, then that much JSON. What a worker says is data
//! from a sandbox: bounded in size and (by the JSON reader, at 128 levels) in depth, unknown fields refused.

use postern_contract::RunId;
use postern_invoke::WorkerRequest;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::printed::Stream;

/// The largest frame in either direction, in bytes without the length.
pub(super) const FRAME_BYTES_MAX: u32 = 8 << 20;

/// How much room a body has before any of it has come, in bytes.
const BODY_BYTES_FIRST: u32 = 4 << 10;

/// What posternd says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToWorker<'a> {
    /// Call the agent.
    Call {
        /// Repeated by the answer.
        id: u64,
        /// The run that the call belongs to.
        run: &'a RunId,
        /// The handler's request.
        request: &'a WorkerRequest,
    },
    /// Nobody waits for a call any more.
    Cancel {
        /// The call.
        id: u64,
    },
}

/// What a worker says.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum FromWorker {
    /// The agent is loaded.
    Ready {
        /// Which name of its module is called.
        found: String,
    },
    /// The agent cannot be loaded; the worker ends.
    Failed {
        /// The error's last line.
        error: String,
    },
    /// It has read that nobody waits for a call any more.
    Heard {
        /// The call.
        id: u64,
    },
    /// A piece of a call's answer.
    Said {
        /// The call.
        id: u64,
        /// The piece.
        text: String,
    },
    /// A line that a call printed, or a piece of a long one.
    Printed {
        /// The call.
        id: u64,
        /// Where.
        stream: Stream,
        /// The line.
        text: String,
    },
    /// A call came back with a dictionary (`json`) or with something else as text.
    Returned {
        /// The call.
        id: u64,
        /// The dictionary, a text of JSON: where it is none, the call has failed and nothing else.
        json: Option<String>,
        /// The text.
        text: Option<String>,
    },
    /// A call raised an exception.
    Raised {
        /// The call.
        id: u64,
        /// The exception's last line.
        error: String,
    },
}

/// Why a frame did not pass; the connection is of no use then.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The socket failed.
    #[error("its socket failed: {0}")]
    Socket(#[from] std::io::Error),
    /// The frame is larger than allowed.
    #[error("a frame of {0} bytes is over the limit of {FRAME_BYTES_MAX}")]
    TooLarge(u64),
    /// The frame is no frame.
    #[error("a frame was not understood: {0}")]
    NotUnderstood(#[from] serde_json::Error),
}

/// The next frame, or `None` once the other end has closed between two frames.
pub(super) async fn read<Reader>(reader: &mut Reader) -> Result<Option<FromWorker>, FrameError>
where
    Reader: AsyncRead + Unpin,
{
    let length = match reader.read_u32().await {
        Ok(length) => length,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge(length.into()));
    }
    // Grows with what really comes: a length alone costs next to nothing.
    let mut body = Vec::with_capacity(length.min(BODY_BYTES_FIRST) as usize);
    reader.take(length.into()).read_to_end(&mut body).await?;
    if body.len() as u64 != u64::from(length) {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Some(serde_json::from_slice(&body)?))
}

/// A frame as it goes over the socket.
pub(super) fn encode(frame: &ToWorker<'_>) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, frame)?;
    let length = bytes.len() - 4;
    match u32::try_from(length) {
        Ok(fits) if fits <= FRAME_BYTES_MAX => bytes[..4].copy_from_slice(&fits.to_be_bytes()),
        _ => return Err(FrameError::TooLarge(length as u64)),
    }
    Ok(bytes)
}

pub(super) async fn write<Writer>(writer: &mut Writer, frame: &[u8]) -> Result<(), FrameError>
where
    Writer: AsyncWrite + Unpin,
{
    Ok(writer.write_all(frame).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(body: &[u8]) -> Result<Option<FromWorker>, FrameError> {
        let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(body);
        read(&mut bytes.as_slice()).await
    }

    #[tokio::test]
    async fn hostile_frames_are_errors() {
        let deep = format!(
            "{{\"returned\":{{\"id\":1,\"value\":{}{}}}}}",
            "[".repeat(5000),
            "]".repeat(5000)
        );
        for body in [
            b"".as_slice(),
            b"null",
            b"{}",
            b"\xff",
            deep.as_bytes(),
            b"{\"ready\":{\"found\":\"a\",\"b\":1}}",
        ] {
            assert!(
                matches!(read_all(body).await, Err(FrameError::NotUnderstood(_))),
                "{body:?}"
            );
        }
        let huge = (FRAME_BYTES_MAX + 1).to_be_bytes();
        assert!(matches!(
            read(&mut huge.as_slice()).await,
            Err(FrameError::TooLarge(_))
        ));
        let cut = [0, 0, 0, 9, b'{'];
        assert!(matches!(
            read(&mut cut.as_slice()).await,
            Err(FrameError::Socket(_))
        ));
        assert!(matches!(read(&mut [].as_slice()).await, Ok(None)));
    }

    #[tokio::test]
    async fn a_frame_is_understood() {
        let frame = read_all(b"{\"returned\":{\"id\":7,\"text\":\"x\"}}")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            frame,
            FromWorker::Returned {
                id: 7,
                json: None,
                text: Some("x".to_owned())
            }
        );
    }
}
