//! Connects to one of the checked addresses and to nothing else, and speaks HTTP there. Never resolves.

use std::{io, net::SocketAddr, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{Sender, Speaks, Unreached, ports::Ports};
use crate::body::Body;

/// How long one address may take to accept.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// The largest response head, in bytes, as far as hyper buffers.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// The largest head of an HTTP/2 response, in bytes.
const HEAD_LIST_BYTES_MAX: u32 = 64 * 1024;

/// What one HTTP/2 answer, and one connection, may send before somebody reads it, in bytes.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// How much of one HTTP/2 request waits for the upstream to read it, in bytes.
const SEND_BYTES_MAX: usize = 64 * 1024;

/// How often a silent HTTP/2 connection is asked whether it is still there, and for how long.
const PING_EVERY: Duration = Duration::from_secs(60);
const PING_MAX: Duration = Duration::from_secs(20);

/// The most header fields of a response; for as many hyper keeps room without asking for memory.
const HEADERS_MAX: usize = 100;

/// How long one address is tried before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the address that accepts first. They are tried in order: the next as soon as one fails, or beside it when
/// it takes long.
pub(super) async fn first(
    host: &str,
    addresses: &[SocketAddr],
    ports: &Ports,
) -> Result<(TcpStream, SocketAddr), Unreached> {
    let mut last = Unreached::NoAddress {
        host: host.to_owned(),
    };
    let mut waiting = addresses.iter();
    let mut under_way = FuturesUnordered::new();
    loop {
        match waiting.next() {
            Some(address) => under_way.push(attempt(host, *address)),
            None if under_way.is_empty() => return Err(last),
            None => {}
        }
        let more = waiting.len() > 0;
        tokio::select! {
            Some(ended) = under_way.next() => match ended {
                Ok((stream, address)) => {
                    let checked = check(&stream, address, ports);
                    return checked.map(|()| (stream, address)).map_err(|error| {
                        Unreached::Connect { host: host.to_owned(), error }
                    });
                }
                Err(unreached) => last = unreached,
            },
            () = sleep(STAGGER), if more => {}
        }
    }
}

async fn attempt(host: &str, address: SocketAddr) -> Result<(TcpStream, SocketAddr), Unreached> {
    let host = || host.to_owned();
    match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok((stream, address)),
        Ok(Err(error)) => Err(Unreached::Connect {
            host: host(),
            error,
        }),
        Err(_) => Err(Unreached::Timeout {
            host: host(),
            step: "connecting",
        }),
    }
}

/// The kernel has the last word on where a connection went.
fn check(stream: &TcpStream, wanted: SocketAddr, ports: &Ports) -> io::Result<()> {
    let reached = stream.peer_addr()?;
    if (reached.ip().to_canonical(), reached.port()) != (wanted.ip().to_canonical(), wanted.port())
    {
        return Err(io::Error::other("the connection went to another address"));
    }
    if ports.were_reached(stream)? {
        return Err(io::Error::other("the address is this host's own runtime"));
    }
    stream.set_nodelay(true)
}

/// Begins HTTP on a connection, in the version that was agreed on; a task drives it until either side closes.
pub(super) async fn handshake<S>(
    host: String,
    stream: S,
    agreed: Speaks,
) -> Result<Sender, Unreached>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let begun = match agreed {
        Speaks::Either | Speaks::Http1 => one(stream).await,
        Speaks::Http2 => two(stream).await,
    };
    begun.map_err(|error| Unreached::Handshake { host, error })
}

async fn one<S>(stream: S) -> hyper::Result<Sender>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    drive(connection.with_upgrades());
    Ok(Sender::One(sender))
}

async fn two<S>(stream: S) -> hyper::Result<Sender>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_LIST_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_MAX)
        .handshake::<_, Body>(TokioIo::new(stream))
        .await?;
    drive(connection);
    Ok(Sender::Two(sender))
}

fn drive(connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
    // In a box: a task that takes it over would keep its room twice, for as long as the connection lasts.
    let connection = Box::pin(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended early");
        }
    });
}
