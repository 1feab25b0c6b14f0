//! Accepts on the listeners of one sandbox and serves HTTP/1.1 and HTTP/2 on what comes. A connection's sandbox is that of
//! its listener, whatever it says. Never outlives the sandbox's [`Scope`].

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use http::{Request, Response, request::Parts};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use nix::sys::socket::{AddressFamily, SockaddrLike as _, SockaddrStorage, getsockname, sockopt};
use postern_daemon::{Unread, prompt::Prompt};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{
    body::Body,
    dns::Meant,
    door::{self, Form, Local, Unclear},
    exchange::exchange,
    gate::Gate,
    identify::Room,
    intercept::{Inside, captured, elsewhere},
    live::{Cut, Entry},
    report,
    scope::Scope,
};

/// The most connections of one listener at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 512;

/// The largest request head, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The most header fields of a request; for as many hyper keeps room without asking for memory.
const HEADERS_MAX: usize = 100;

/// The most requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 100;

/// What one HTTP/2 request, and all on one connection, may send before anybody takes it, in bytes.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;

/// How much of one HTTP/2 answer waits for an agent to read it, in bytes.
const SEND_BYTES_MAX: usize = 64 * 1024;

/// How long to wait after an accept that failed for want of descriptors or memory.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Where a connection came in, and whose it is therefore.
#[derive(Clone)]
pub(crate) struct Arrival {
    pub(crate) room: Arc<Room>,
    pub(crate) scope: Scope,
    place: Place,
}

/// What stands between a request and its sandbox's listener.
#[derive(Clone)]
enum Place {
    /// Nothing; the listener has this address, if any.
    Listener(Option<SocketAddr>),
    /// A CONNECT that the gate looks into.
    Inside(Arc<Inside>),
    /// Nothing; the connection was made to this address, and what comes is in the clear.
    Captured(Arc<Meant>),
}

impl Arrival {
    /// The same sandbox, inside a CONNECT.
    pub(crate) fn inside(&self, inside: Inside) -> Self {
        Self {
            place: Place::Inside(Arc::new(inside)),
            ..self.clone()
        }
    }

    /// The same sandbox, on a connection that was made to this address.
    pub(crate) fn captured(&self, meant: Meant) -> Self {
        Self {
            place: Place::Captured(Arc::new(meant)),
            ..self.clone()
        }
    }

    /// What the CONNECT around a request said about its run.
    pub(crate) fn hint(&self) -> Option<&str> {
        match &self.place {
            Place::Inside(inside) => inside.hint.as_deref(),
            Place::Listener(_) | Place::Captured(_) => None,
        }
    }

    /// The server name of the TLS around a request.
    pub(crate) fn sni(&self) -> Option<&str> {
        match &self.place {
            Place::Inside(inside) => inside.sni.as_deref(),
            Place::Listener(_) | Place::Captured(_) => None,
        }
    }

    fn sort(&self, parts: &Parts) -> Result<Result<Form, Local>, Unclear> {
        match &self.place {
            Place::Inside(inside) => Ok(Ok(Form::Inside(Arc::clone(inside)))),
            Place::Listener(own) => door::sort(parts, *own),
            Place::Captured(meant) => Ok(Ok(Form::Captured(Arc::clone(meant)))),
        }
    }
}

/// What comes in on a listener.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Comes {
    /// Requests for the gate itself, in any of its forms.
    ToTheGate,
    /// Whatever a program connected to by some address.
    ByAddress,
    /// The same, at a port that nobody had named when the sandbox began.
    ByAnyPort,
}

/// A listening socket that was made elsewhere.
pub(crate) enum Listener {
    /// In a sandbox.
    Tcp(TcpListener),
    /// In posternd's private directory.
    Unix(UnixListener),
}

impl Listener {
    /// Takes over a descriptor, which must be a listening stream socket.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let unfit = || io::Error::new(io::ErrorKind::InvalidInput, "not a listening stream socket");
        let listens = nix::sys::socket::getsockopt(&fd.as_fd(), sockopt::AcceptConn)?;
        let kind = nix::sys::socket::getsockopt(&fd.as_fd(), sockopt::SockType)?;
        if !listens || kind != nix::sys::socket::SockType::Stream {
            return Err(unfit());
        }
        let name = getsockname::<SockaddrStorage>(fd.as_raw_fd())?;
        match name.family() {
            Some(AddressFamily::Inet | AddressFamily::Inet6) => {
                let listener = std::net::TcpListener::from(fd);
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(TcpListener::from_std(listener)?))
            }
            Some(AddressFamily::Unix) => {
                let listener = std::os::unix::net::UnixListener::from(fd);
                listener.set_nonblocking(true)?;
                Ok(Self::Unix(UnixListener::from_std(listener)?))
            }
            _ => Err(unfit()),
        }
    }

    /// Accepts for a room until its scope ends.
    pub(crate) fn serve(self, comes: Comes, gate: &Arc<Gate>, (room, scope): (&Arc<Room>, &Scope)) {
        let own = match &self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        };
        let arrival = Arrival {
            room: Arc::clone(room),
            scope: scope.clone(),
            place: Place::Listener(own),
        };
        let gate = Arc::clone(gate);
        scope.spawn(async move { self.accept_all(comes, gate, arrival).await });
    }

    async fn accept_all(self, comes: Comes, gate: Arc<Gate>, arrival: Arrival) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let accepted = match &self {
                Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "no TCP_NODELAY");
                    }
                    let tenure = Tenure::new(place, None);
                    match comes {
                        Comes::ToTheGate => {
                            serve(stream, tenure, Arc::clone(&gate), arrival.clone());
                        }
                        Comes::ByAddress => captured::attend(stream, tenure, &gate, &arrival),
                        Comes::ByAnyPort => elsewhere::attend(stream, tenure, &gate, &arrival),
                    }
                }),
                Self::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                    let tenure = Tenure::new(place, None);
                    serve(stream, tenure, Arc::clone(&gate), arrival.clone());
                }),
            };
            if let Err(error) = accepted {
                tracing::warn!(%error, sandbox = %arrival.room.sandbox, "accept failed");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// What a connection holds while it lasts, and what may end it before.
pub(crate) struct Tenure {
    place: OwnedSemaphorePermit,
    live: Option<Entry>,
}

impl Tenure {
    /// Holds a place among connections of its kind.
    pub(crate) fn new(place: OwnedSemaphorePermit, live: Option<Entry>) -> Self {
        Self { place, live }
    }

    /// Returns once a new policy does not allow the connection any more.
    async fn cut(&mut self) -> Cut {
        match &mut self.live {
            Some(live) => live.cut().await,
            None => std::future::pending().await,
        }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Serves one connection for as long as its tenure lasts; what is under way then is judged by itself and may end.
pub(crate) fn serve<S>(stream: S, mut tenure: Tenure, gate: Arc<Gate>, arrival: Arrival)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let scope = arrival.scope.clone();
    let patience = gate.book().patience;
    let head_max = patience.head;
    let builder = connection_builder(&scope, head_max);
    // Boxed: a story is long, and what runs in a connection should not be moved about with it.
    let service = service_fn(move |request| -> Answering {
        let (gate, arrival) = (Arc::clone(&gate), arrival.clone());
        Box::pin(async move { Ok(answer(&gate, &arrival, request).await) })
    });
    let stream = Unread::new(stream, patience.silence);
    let connection = builder
        .serve_connection_with_upgrades(TokioIo::new(Prompt::new(stream, head_max)), service);
    // Boxed too: a task that pinned it would keep its room twice, for as long as the connection lasts.
    let mut connection = Box::pin(connection.into_owned());
    scope.spawn(async move {
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            cut = tenure.cut() => {
                tracing::info!(%cut, "a connection that was looked into ends");
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error, "a connection ended early");
        }
        drop(tenure.place);
    });
}

fn connection_builder(scope: &Scope, head_max: Duration) -> auto::Builder<Scope> {
    let mut builder = auto::Builder::new(scope.clone());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head_max)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(head_max)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32);
    builder
}

async fn answer(gate: &Arc<Gate>, arrival: &Arrival, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let form = match arrival.sort(&parts) {
        Ok(Err(Local::Report(told))) => {
            return report::answer(gate, &arrival.room, told, body).await;
        }
        Ok(Err(local)) => {
            return door::local::answer(local, &gate.book(), arrival.room.holder());
        }
        Ok(Ok(form)) => Ok(form),
        Err(unclear) => Err(unclear),
    };
    exchange(gate, arrival, (form, Request::from_parts(parts, body))).await
}
