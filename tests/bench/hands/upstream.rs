//! An upstream that does next to nothing and counts: how many requests came, and how many of them with the credential that
//! the proxy has to add. Never logs, never parses more than it must.
//!
//! `/count` the counts, `/blob/N` N bytes, `/events…` an event stream that stays open (a model's first word), `/socket` a WebSocket that stays open,
//! anything else 1 KiB.

use std::{cell::Cell, net::SocketAddr, rc::Rc, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{LocalSet, spawn_local},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    answer::{end_of_head, field},
    options::Options,
    route::Wire,
    say,
};

/// The body of an ordinary answer, in bytes.
const BODY_BYTES: usize = 1024;

/// How much of a blob is written at once, in bytes.
const BLOB_CHUNK: usize = 64 * 1024;

/// The longest request head, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How a signature with the bench's key begins.
const SIGNED: &[u8] = b"AWS4-HMAC-SHA256 Credential=AKIABENCH/";

/// What came.
struct Counts {
    /// The value of `authorization` that is counted.
    wanted: Vec<u8>,
    all: Cell<u64>,
    with_credential: Cell<u64>,
}

/// Serves `--plain ADDRESS` and, where it is said, `--tls ADDRESS --certificate FILE --key FILE`, counting `--wanted VALUE`.
pub(crate) async fn serve(options: &Options) -> anyhow::Result<()> {
    let counts = Rc::new(Counts {
        wanted: options.must::<String>("wanted")?.into_bytes(),
        all: Cell::new(0),
        with_credential: Cell::new(0),
    });
    let plain = TcpListener::bind(options.must::<SocketAddr>("plain")?).await?;
    let local = LocalSet::new();
    let mut ports = json!({ "plain": plain.local_addr()?.port() });
    if let Some(address) = options.maybe::<SocketAddr>("tls")? {
        let secure = TcpListener::bind(address).await?;
        ports["tls"] = secure.local_addr()?.port().into();
        local.spawn_local(secured(secure, acceptor(options)?, Rc::clone(&counts)));
    }
    say(&ports)?;
    let accepting = async move {
        loop {
            let (stream, _): (TcpStream, _) = plain.accept().await?;
            stream.set_nodelay(true)?;
            let counts = Rc::clone(&counts);
            spawn_local(async move { attend(stream, &counts).await });
        }
    };
    local.run_until(accepting).await
}

async fn secured(listener: TcpListener, acceptor: TlsAcceptor, counts: Rc<Counts>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (counts, acceptor) = (Rc::clone(&counts), acceptor.clone());
        drop(stream.set_nodelay(true));
        spawn_local(async move {
            let stream = acceptor.accept(stream).await?;
            attend(stream, &counts).await
        });
    }
}

fn acceptor(options: &Options) -> anyhow::Result<TlsAcceptor> {
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(options.must::<String>("certificate")?)?.collect();
    let key = PrivateKeyDer::from_pem_file(options.must::<String>("key")?)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates?, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn attend(mut stream: impl Wire, counts: &Counts) -> std::io::Result<()> {
    let ordinary = ordinary();
    let mut buffer = vec![0; HEAD_BYTES_MAX];
    let mut filled = 0;
    loop {
        let Some(end) = end_of_head(&buffer[..filled]) else {
            if filled == buffer.len() {
                return Ok(());
            }
            match stream.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                length => filled += length,
            }
            continue;
        };
        let head = &buffer[..end];
        let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        match target {
            b"/count" => stream.write_all(&counts.told()).await?,
            b"/socket" => {
                counts.count(head);
                return stay(stream, SOCKET).await;
            }
            target if target.starts_with(b"/events") => {
                counts.count(head);
                return stay(stream, EVENTS).await;
            }
            target => {
                counts.count(head);
                match target.strip_prefix(b"/blob/") {
                    Some(length) => blob(&mut stream, length).await?,
                    None if is_last(head) => return stream.write_all(&last()).await,
                    None => stream.write_all(&ordinary).await?,
                }
            }
        }
        stream.flush().await?;
        let body = length(head);
        let here = body.min(filled - end);
        let mut beyond = tokio::io::AsyncReadExt::take(&mut stream, (body - here) as u64);
        tokio::io::copy(&mut beyond, &mut tokio::io::sink()).await?;
        buffer.copy_within(end + here..filled, 0);
        filled -= end + here;
    }
}

impl Counts {
    fn count(&self, head: &[u8]) {
        self.all.set(self.all.get() + 1);
        let shown = field(head, b"authorization:").map(<[u8]>::trim_ascii);
        let is_signed = shown.is_some_and(|value| value.starts_with(SIGNED));
        if shown == Some(&self.wanted) || is_signed {
            self.with_credential.set(self.with_credential.get() + 1);
        }
    }

    fn told(&self) -> Vec<u8> {
        let body = json!({ "all": self.all.get(), "with_credential": self.with_credential.get() });
        answer("application/json", body.to_string().as_bytes())
    }
}

/// How long the body is that follows, in bytes.
fn length(head: &[u8]) -> usize {
    let said = field(head, b"content-length:").map(<[u8]>::trim_ascii);
    let said = said.and_then(|value| std::str::from_utf8(value).ok());
    said.and_then(|value| value.parse().ok())
        .unwrap_or_default()
}

/// Whether the client says that it sends no more.
fn is_last(head: &[u8]) -> bool {
    let said = field(head, b"connection:").map(<[u8]>::trim_ascii);
    said.is_some_and(|value| value.eq_ignore_ascii_case(b"close"))
}

/// The ordinary answer with a goodbye.
fn last() -> Vec<u8> {
    answer("text/plain\r\nconnection: close", &[b'x'; BODY_BYTES])
}

fn ordinary() -> Vec<u8> {
    answer("text/plain", &[b'x'; BODY_BYTES])
}

fn answer(kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn blob(stream: &mut impl Wire, length: &[u8]) -> std::io::Result<()> {
    let length = std::str::from_utf8(length).unwrap_or_default();
    let mut left: usize = length.parse().unwrap_or_default();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {left}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let chunk = vec![b'x'; BLOB_CHUNK];
    while left > 0 {
        let here = left.min(chunk.len());
        stream.write_all(&chunk[..here]).await?;
        left -= here;
    }
    Ok(())
}

/// One event, and then silence.
const EVENTS: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
      3d\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"}}]}\n\n\r\n";

/// The answer to the one key that `tests/bench/gate` sends, a text frame, and then silence.
const SOCKET: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x05hello";

/// Says what there is to say and waits until the other end has enough.
async fn stay(mut stream: impl Wire, said: &[u8]) -> std::io::Result<()> {
    stream.write_all(said).await?;
    stream.flush().await?;
    let mut rest = [0; 256];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
