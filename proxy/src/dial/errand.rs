//! What the gate itself asks of a place that its config names, such as a token endpoint: one request on a connection of its own,
//! which is judged and verified like any other. Never an agent's call, never kept, and never sent twice.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use postern_policy::{Authority, Scheme};

use super::{Course, Dialer, Proxy, Roots, Sender, Speaks, Unreached, connect, resolve};
use crate::{
    audit::Timings,
    body::{self, Body},
};

/// Where the gate goes in its own name.
pub(crate) struct Errand<'a> {
    pub(crate) authority: &'a Authority,
    /// Whether its address may be a private one.
    pub(crate) private: bool,
    /// The only authorities that are believed about it; absent means those of the system.
    pub(crate) roots: Option<&'a Roots>,
    pub(crate) proxy: Option<&'a Proxy>,
}

impl Errand<'_> {
    /// A request for this target there, with the fields that every errand has.
    pub(crate) fn request(
        &self,
        (method, target): (Method, &str),
        body: &[u8],
    ) -> Result<Request<Body>, http::Error> {
        let host = HeaderValue::try_from(self.authority.to_string())?;
        let url = Uri::builder()
            .scheme(self.authority.scheme().as_str())
            .authority(host.as_bytes())
            .path_and_query(target)
            .build()?;
        let mut request = Request::new(body::full(Bytes::copy_from_slice(body)));
        *request.method_mut() = method;
        *request.uri_mut() = url;
        let fields = request.headers_mut();
        fields.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        // GitHub answers nobody who does not say what program it is.
        fields.insert(header::USER_AGENT, HeaderValue::from_static("postern"));
        fields.insert(header::HOST, host);
        Ok(request)
    }
}

/// Why the body of an answer is not there whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    TooLarge,
    Broken,
}

/// The body of an answer, of at most so many bytes.
pub(crate) async fn whole(body: Incoming, bytes_max: usize) -> Result<Bytes, Cut> {
    let read = Limited::new(body, bytes_max).collect().await;
    let read = read.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => Cut::TooLarge,
        None => Cut::Broken,
    });
    Ok(read?.to_bytes())
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
