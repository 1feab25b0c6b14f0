//! An object from the world, through the gate: asked for again where it broke off, from there on, until all of it was passed on.
//! Never dials anything but the gate, never carries a credential, never keeps a byte.

mod answer;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use postern_contract::{
    SandboxId,
    link::{ListenerKind, News, Origin},
};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use self::answer::{Part, Validator};
use super::{Failed, InstallError, Installer, progress::Gauge};
use crate::{
    config::Agent,
    egress::Egress,
    link::{Link, LinkError},
    source::{Digest, Remote},
};

/// How long an answer's head, or its next bytes, may take.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How often one place is asked in a row without a byte more of it.
const TRIES_MAX: u32 = 4;

/// How long the second try waits; each after it twice as long.
const PAUSE: Duration = Duration::from_millis(500);

/// How often an object may stand elsewhere.
const REDIRECTS_MAX: usize = 5;

/// Why one try did not bring all of it.
enum Stop {
    /// It may go on from where it is.
    Broke(String),
    /// It will not.
    Refused(Failed),
    /// Nobody wants the rest.
    Unwanted,
}

/// posternd's own way through the gate, for what an agent's `install.fetch` allows.
struct Way {
    link: Link,
    egress: Egress,
    sandbox: SandboxId,
}

impl Installer {
    /// Passes an object on as it comes, and says what it was. When `into` takes no more, that is nobody's failure here.
    pub(super) async fn download(
        &self,
        agent: &Agent,
        object: &Remote,
        into: impl AsyncWrite + Unpin,
    ) -> Result<Option<Digest>, InstallError> {
        let way = self.way(agent).await?;
        let mut download = Download::of(&way.egress, object, into);
        download.gauge = self.progress.gauge(&agent.name);
        let downloaded = download.whole().await;
        drop(way);
        downloaded.map_err(|failed| InstallError::Failed {
            shown: object.shown(),
            failed: Box::new(failed),
        })
    }

    async fn way(&self, agent: &Agent) -> Result<Way, InstallError> {
        // No agent's own socket is called that: there is no dot in a name.
        let name = format!("{}.fetch.sock", agent.name);
        let (egress, listener) =
            Egress::bind(&self.sockets, &name).map_err(|source| InstallError::Place {
                path: self.sockets.join(&name),
                source,
            })?;
        let sandbox = SandboxId::fresh();
        let news = News::SandboxStarted {
            sandbox: sandbox.clone(),
            agent: agent.name.clone(),
            origin: Origin::Fetch,
            listeners: vec![ListenerKind::Gate],
        };
        self.link.tell(news, vec![listener]).await?;
        Ok(Way {
            link: self.link.clone(),
            egress,
            sandbox,
        })
    }
}

/// However a download ends, also where it is given up: the gate accepts nothing there any more.
impl Drop for Way {
    fn drop(&mut self) {
        let news = News::SandboxEnded {
            sandbox: self.sandbox.clone(),
        };
        let link = self.link.clone();
        tokio::spawn(async move {
            match link.tell(news, Vec::new()).await {
                Ok(()) | Err(LinkError::Broken) => {}
                Err(error) => tracing::warn!(%error, "the gate was not told that a download ended"),
            }
        });
    }
}

/// One object on its way.
struct Download<'way, Into> {
    egress: &'way Egress,
    shown: String,
    url: Uri,
    into: Into,
    hash: Sha256,
    /// How much was passed on.
    bytes: u64,
    /// Which state of the object that was.
    state: Option<Validator>,
    /// Who is told how far it is.
    gauge: Gauge,
}

impl<'way, Into: AsyncWrite + Unpin> Download<'way, Into> {
    fn of(egress: &'way Egress, object: &Remote, into: Into) -> Self {
        Self {
            egress,
            shown: object.shown(),
            url: object.url().clone(),
            into,
            hash: Sha256::new(),
            bytes: 0,
            state: None,
            gauge: Gauge::default(),
        }
    }

    async fn whole(mut self) -> Result<Option<Digest>, Failed> {
        let mut tries = 0;
        loop {
            let before = self.bytes;
            match self.once().await {
                Ok(()) => return Ok(Some(Digest::of(self.hash.finalize().into()))),
                Err(Stop::Unwanted) => return Ok(None),
                Err(Stop::Refused(failed)) => return Err(failed),
                Err(Stop::Broke(why)) => {
                    tries = if self.bytes > before { 1 } else { tries + 1 };
                    if tries == TRIES_MAX {
                        return Err(answer::failed(format!(
                            "{why}, and so {TRIES_MAX} times in a row"
                        )));
                    }
                    tracing::info!(
                        object = self.shown,
                        bytes = self.bytes,
                        why,
                        "a download goes on"
                    );
                    tokio::time::sleep(PAUSE * 2_u32.pow(tries - 1)).await;
                }
            }
        }
    }

    /// Asks once, and passes on what comes and was not passed on before.
    async fn once(&mut self) -> Result<(), Stop> {
        let answer = self.asked().await?;
        let state = Validator::of(answer.headers());
        let part = Part::of(&answer, self.bytes);
        let mut passed_over = match part {
            Part::FromStart if self.bytes == 0 => 0,
            Part::FromStart if self.is_still(state.as_ref()) => self.bytes,
            Part::Rest if self.is_still(state.as_ref()) => 0,
            Part::FromStart | Part::Rest => {
                let how = "it broke off, and is another one since".to_owned();
                return Err(Stop::Refused(answer::failed(how)));
            }
            Part::NotNow => return Err(Stop::Broke(answer.status().to_string())),
            Part::None => return Err(Stop::Refused(answer::refusal(answer).await)),
        };
        self.state = state;
        let mut body = answer.into_body();
        if let Some(rest) = body.size_hint().exact() {
            self.gauge.expects(self.bytes - passed_over + rest);
        }
        while let Some(piece) = next(&mut body).await? {
            let skipped =
                usize::try_from(passed_over).map_or(piece.len(), |over| over.min(piece.len()));
            passed_over -= skipped as u64;
            self.pass_on(&piece[skipped..]).await?;
        }
        if passed_over > 0 {
            return Err(Stop::Broke("it ended early".to_owned()));
        }
        Ok(())
    }

    /// Whether what an answer has is what was passed on already.
    fn is_still(&self, state: Option<&Validator>) -> bool {
        state.is_some() && state == self.state.as_ref()
    }

    async fn pass_on(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.gauge.passed(bytes.len());
        let passed = self.into.write_all(bytes).await;
        passed.map_err(|_| Stop::Unwanted)
    }

    /// The answer of whoever has it, wherever that is.
    async fn asked(&self) -> Result<Response<Incoming>, Stop> {
        let mut url = self.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let answer = self
                .egress
                .send(self.question(&url)?, SILENCE_MAX)
                .await
                .map_err(|error| Stop::Broke(error.to_string()))?;
            let Some(elsewhere) = answer::elsewhere(&url, &answer) else {
                return Ok(answer);
            };
            url = elsewhere.map_err(|how| Stop::Refused(answer::failed(how)))?;
        }
        let how = format!("it stands elsewhere, and there again, {REDIRECTS_MAX} times");
        Err(Stop::Refused(answer::failed(how)))
    }

    fn question(&self, url: &Uri) -> Result<Request<Full<Bytes>>, Stop> {
        let authority = url.authority().map(ToString::to_string).unwrap_or_default();
        let mut question = Request::builder()
            .method(Method::GET)
            .uri(url.clone())
            .header(header::HOST, authority)
            .header(header::ACCEPT_ENCODING, "identity");
        if let (1.., Some(state)) = (self.bytes, &self.state) {
            question = question
                .header(header::RANGE, format!("bytes={}-", self.bytes))
                .header(header::IF_RANGE, state.as_str());
        }
        let built = question.body(Full::default());
        built.map_err(|error| Stop::Refused(answer::failed(error.to_string())))
    }
}

/// The next bytes of a body, or that it is over.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Stop> {
    loop {
        let frame = match tokio::time::timeout(SILENCE_MAX, body.frame()).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(Stop::Broke(format!("it broke off: {error}"))),
            Err(_) => {
                let silence = SILENCE_MAX.as_secs();
                return Err(Stop::Broke(format!("nothing came for {silence} s")));
            }
        };
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

/// Whether it is worth asking again for this reason.
fn passes(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

#[cfg(test)]
mod tests;
