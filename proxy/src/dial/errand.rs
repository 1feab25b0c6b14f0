//! What the gate itself asks of a place that its config names, such as a token endpoint: one request on a connection of its own,
//! which is judged and verified like any other. Never an agent's call, never kept, and never sent twice.

use http::{Request, Response};
use hyper::body::Incoming;
use postern_policy::{Authority, Scheme};

use super::{Course, Dialer, Proxy, Roots, Sender, Speaks, Unreached, connect, resolve};
use crate::{audit::Timings, body::Body};

/// Where the gate goes in its own name.
pub(crate) struct Errand<'a> {
    pub(crate) authority: &'a Authority,
    /// Whether its address may be a private one.
    pub(crate) private: bool,
    /// The only authorities that are believed about it; absent means those of the system.
    pub(crate) roots: Option<&'a Roots>,
    pub(crate) proxy: Option<&'a Proxy>,
}

impl Dialer {
    /// The answer to one request, which has its whole URL and a `Host` field. Whoever asks limits the time.
    pub(crate) async fn run(
        &self,
        errand: &Errand<'_>,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Unreached> {
        let mut sender = self.errand(errand).await?;
        let sent = sender.send(request).await;
        sent.map_err(|unsent| Unreached::Handshake {
            host: errand.authority.host().to_string(),
            error: unsent.error,
        })
    }

    async fn errand(&self, errand: &Errand<'_>) -> Result<Sender, Unreached> {
        let course = Course {
            authority: errand.authority,
            private: errand.private,
            proxy: errand.proxy,
        };
        let addresses = resolve::addresses(self, course).await?;
        let mut timings = Timings::default();
        let (stream, _) = self.connect(course, &addresses, &mut timings).await?;
        let host = errand.authority.host();
        match errand.authority.scheme() {
            Scheme::Tcp => Err(Unreached::Raw {
                host: host.to_string(),
            }),
            Scheme::Http => connect::handshake(host.to_string(), stream, Speaks::Http1).await,
            Scheme::Https => {
                let with = (errand.roots, Speaks::Http1);
                let (secured, agreed) = self.tls.secure(host, stream, with).await?;
                connect::handshake(host.to_string(), secured, agreed).await
            }
        }
    }
}
