//! Questions on connections, each with its length before it (RFC 7766). Never holds more than one of a connection, and no
//! connection that is silent.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use super::{QUESTION_BYTES_MAX, answered};
use crate::{gate::Gate, identify::Room, scope::Scope};

/// The most connections of one sandbox at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 32;

/// How long a connection may be silent, and how long an answer may take to be read.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How long to wait after an accept that failed for want of descriptors or memory.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Accepts for ever.
pub(super) async fn serve(
    listener: &TcpListener,
    gate: Arc<Gate>,
    (room, scope): (Arc<Room>, Scope),
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, sandbox = %room.sandbox, "accept failed");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let (gate, room) = (Arc::clone(&gate), Arc::clone(&room));
        scope.spawn(async move {
            if let Err(error) = attend(stream, &gate, &room).await {
                tracing::debug!(%error, "a connection for names ended early");
            }
            drop(place);
        });
    }
}

/// Answers one question after the other, until one makes no sense or none comes.
async fn attend(mut stream: TcpStream, gate: &Gate, room: &Room) -> io::Result<()> {
    let mut message = [0; QUESTION_BYTES_MAX];
    loop {
        let heard = timeout(SILENCE_MAX, question(&mut stream, &mut message)).await??;
        let Some(heard) = heard else { return Ok(()) };
        let Some(reply) = answered(heard, gate, room).await else {
            return Ok(());
        };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let whole = [length.to_be_bytes().as_slice(), &reply].concat();
        timeout(SILENCE_MAX, stream.write_all(&whole)).await??;
    }
}

/// The next question; none at the end, or where it is longer than any that makes sense.
async fn question<'a>(
    stream: &mut TcpStream,
    message: &'a mut [u8],
) -> io::Result<Option<&'a [u8]>> {
    let length = match stream.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(place) = message.get_mut(..length) else {
        return Ok(None);
    };
    stream.read_exact(place).await?;
    Ok(Some(place))
}
