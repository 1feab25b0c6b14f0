//! Listeners of the public API and of the operator's, served from the moment that they are bound: a port that is taken is found before
//! anything is installed, and probes are answered while agents are. Never answers anything itself.

use std::net::SocketAddr;

use futures_util::future::join_all;
use postern_contract::config::{Listen, ListenTls};
use postern_daemon::{
    Shutdown, serve,
    tls::{Tls, TlsFiles},
};
use tokio::task::{JoinError, JoinHandle};

use crate::{
    api::Arrival,
    config::{ApiLimits, Config},
    install::Progress,
    start::Failure,
};

/// What part of `drain_timeout` the last answers may take to be read, of what runs leave of it.
const CLOSING_PART: u32 = 5;

/// Both APIs, whole or on their way.
pub(crate) struct Serving {
    /// The public API.
    pub(crate) public: Arrival,
    /// The operator's.
    pub(crate) operator: Arrival,
    /// Ends both, once answers under way are through.
    pub(crate) closing: Shutdown,
    addresses: Vec<SocketAddr>,
    at: (Option<SocketAddr>, Option<SocketAddr>),
    tasks: JoinHandle<()>,
}

impl Serving {
    /// Binds all that the config names, and answers there.
    pub(crate) async fn begin(config: &Config, progress: &Progress) -> Result<Self, Failure> {
        let api = listen(&config.listen).await?;
        let operators = serve::Listener::tcp(config.listen.operator);
        let operators = operators.await.map_err(Failure::run)?;
        let listeners = api.iter().chain([&operators]);
        let addresses = listeners.filter_map(serve::Listener::address).collect();
        let at = api.first().and_then(serve::Listener::address);
        let at = (at, operators.address());
        let public = Arrival::of(config, progress.clone());
        let operator = Arrival::of(config, progress.clone()).untold();
        // Whoever calls while the last runs end is told to come again.
        let closing = Shutdown::manual();
        let limits = limits(&config.api);
        let router = public.router();
        let served = api
            .into_iter()
            .map(|listener| serve::serve(listener, router.clone(), limits, closing.clone()));
        let (served, office) = (
            join_all(served),
            serve::serve(operators, operator.router(), limits, closing.clone()),
        );
        let tasks = tokio::spawn(async move {
            tokio::join!(served, office);
        });
        Ok(Self {
            public,
            operator,
            closing,
            addresses,
            at,
            tasks,
        })
    }

    /// Every address that is listened on.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// Where the public API is, and the operator's: the config may have left the ports to the system.
    pub(crate) fn at(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        self.at
    }

    /// Returns when all that was asked before `closing` is answered.
    pub(crate) async fn ended(&mut self) -> Result<(), JoinError> {
        (&mut self.tasks).await
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

/// How much of `drain_timeout` is the runs'.
pub(crate) fn runs_drain(bounds: &ApiLimits) -> std::time::Duration {
    bounds.drain - bounds.drain / CLOSING_PART
}

fn limits(bounds: &ApiLimits) -> serve::Limits {
    serve::Limits {
        unread: bounds.unread,
        drain: bounds.drain / CLOSING_PART,
        ..serve::Limits::default()
    }
}

async fn listen(written: &Listen) -> Result<Vec<serve::Listener>, Failure> {
    let tcp = match &written.tls {
        Some(ListenTls { certificate, key }) => {
            let files = TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
            };
            let tls = Tls::watch(files).await.map_err(Failure::config)?;
            serve::Listener::tls(written.api, tls).await
        }
        None => serve::Listener::tcp(written.api).await,
    };
    let mut listeners = vec![tcp.map_err(Failure::run)?];
    if let Some(path) = &written.api_socket {
        listeners.push(serve::Listener::unix(path).map_err(Failure::run)?);
    }
    Ok(listeners)
}
