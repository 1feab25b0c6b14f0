//! The way to an upstream: straight, or through a proxy by absolute form or CONNECT, with TLS or without. Never verifies
//! less than a client would.

use std::{net::SocketAddr, sync::Arc};

use anyhow::ensure;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{answer::Answers, options::Options};

/// A connection of either make.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire for S {}

/// How to connect.
pub(crate) struct Route {
    /// Where connections go to, taken in turn.
    doors: Vec<SocketAddr>,
    /// What a CONNECT asks for, if there is one.
    connect: Option<String>,
    /// How TLS is spoken, if it is.
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Route {
    /// `--to ADDRESS…`, `--connect HOST:PORT`, `--tls NAME --ca FILE`.
    pub(crate) fn new(options: &Options) -> anyhow::Result<Self> {
        let doors: Result<Vec<_>, _> = options.all("to").map(str::parse).collect();
        let doors: Vec<SocketAddr> = doors?;
        ensure!(!doors.is_empty(), "--to is needed");
        let tls = match options.maybe::<String>("tls")? {
            Some(name) => Some((connector(options)?, ServerName::try_from(name)?)),
            None => None,
        };
        Ok(Self {
            doors,
            connect: options.maybe("connect")?,
            tls,
        })
    }

    /// A new connection, ready for requests; `turn` picks the door.
    pub(crate) async fn open(&self, turn: usize) -> anyhow::Result<Box<dyn Wire>> {
        let mut stream = TcpStream::connect(self.doors[turn % self.doors.len()]).await?;
        stream.set_nodelay(true)?;
        if let Some(authority) = &self.connect {
            let request = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answers = Answers::default();
            let head = answers.head(&mut stream).await?;
            ensure!(head.status == 200, "CONNECT was answered {}", head.status);
            ensure!(!answers.has_more(), "somebody spoke out of turn");
        }
        Ok(match &self.tls {
            None => Box::new(stream),
            Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
        })
    }
}

fn connector(options: &Options) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let file: String = options.must("ca")?;
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // New connections are whole handshakes: what is asked is what a new client costs.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}
