//! One request to an agent's own server, over a connection that the launcher made inside the sandbox. Never follows it anywhere
//! else, and never waits for an answer that it would not read.

use std::{net::TcpStream as StdStream, os::fd::OwnedFd, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use postern_invoke::{Input, WorkerRequest};
use serde_json::Value;
use tokio::{net::TcpStream, sync::mpsc};

use super::{
    Settings, answer,
    house::{Over, Yard},
};
use crate::sandbox::{Sandbox, SandboxError};

/// How long the answer to the question whether it is ready may take.
const READY_MAX: Duration = Duration::from_secs(5);

/// How soon the end of a server and the end of its connections follow each other.
const SOON: Duration = Duration::from_secs(1);

/// The longest text of an error that is passed on, in characters.
const ERROR_CHARS_MAX: usize = 2000;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// Nobody listens.
    #[error("its server does not accept: {0}")]
    Dial(#[from] SandboxError),
    /// The connection failed.
    #[error("its server's connection failed: {0}")]
    Socket(#[from] std::io::Error),
    /// The exchange broke off.
    #[error("its server broke off: {0}")]
    Exchange(#[from] hyper::Error),
    /// What was to be asked is no request.
    #[error("it cannot be asked: {0}")]
    Request(#[from] http::Error),
    /// It answered with an error.
    #[error("its server answered {status}: {said}")]
    Status {
        /// The status.
        status: StatusCode,
        /// What it said.
        said: String,
    },
    /// It says in its stream what went wrong.
    #[error("its server says: {0}")]
    Said(String),
    /// The answer is not what one must be.
    #[error("its server's answer {0}")]
    Odd(String),
}

/// Whether the server says that it can be called.
pub(super) async fn is_ready(sandbox: &Sandbox, settings: &Settings) -> bool {
    let asked = async {
        let request = request(Method::GET, &settings.ready, settings.port)
            .body(Full::default())
            .ok()?;
        let answer = send(sandbox, settings.port, request).await.ok()?;
        Some(answer.status().as_u16() < 400)
    };
    let ready = tokio::time::timeout(READY_MAX, asked).await;
    ready.ok().flatten().unwrap_or(false)
}

/// Asks for one run, and tells what comes on the way.
pub(super) async fn run(
    yard: &Yard,
    sandbox: &Sandbox,
    request: WorkerRequest,
    inputs: &mpsc::Sender<Input>,
) -> Result<Value, NoAnswer> {
    if let Some(resume) = &request.resume {
        // Its own place, whether it streams or not: only a server that knows how to go on has it.
        let base = yard.settings.resume.trim_end_matches('/');
        let path = format!("{base}/{}", resume.action_id);
        let answer = ask(yard, sandbox, (&path, &request)).await?;
        return answer::read(answer, inputs).await;
    }
    let path = yard.path();
    let answer = ask(yard, sandbox, (path, &request)).await?;
    if path == yard.settings.invoke || !yard.may_have_no_such(answer.status()) {
        return answer::read(answer, inputs).await;
    }
    let answer = ask(yard, sandbox, (&yard.settings.invoke, &request)).await?;
    yard.answered_plainly(answer.status());
    answer::read(answer, inputs).await
}

async fn ask(
    yard: &Yard,
    sandbox: &Sandbox,
    (path, asked): (&str, &WorkerRequest),
) -> Result<Response<Incoming>, NoAnswer> {
    let port = yard.settings.port;
    let mut request = request(Method::POST, path, port)
        .header("content-type", "application/json")
        .header("x-request-id", asked.request_id.as_str())
        .header("x-run-id", asked.run_id.as_str());
    if let Some(user) = &asked.user_id {
        request = request.header("x-end-user-id", user);
    }
    let body = serde_json::to_vec(asked).unwrap_or_default();
    send(sandbox, port, request.body(Full::from(body))?).await
}

fn request(method: Method, path: &str, port: u16) -> http::request::Builder {
    let request = Request::builder().method(method).uri(path);
    request.header("host", format!("127.0.0.1:{port}"))
}

async fn send(
    sandbox: &Sandbox,
    port: u16,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, NoAnswer> {
    let stream = connected(sandbox.dial(port).await?)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to an agent's server ended early");
        }
    });
    Ok(sender.send_request(request).await?)
}

fn connected(socket: OwnedFd) -> std::io::Result<TcpStream> {
    let stream = StdStream::from(socket);
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    TcpStream::from_std(stream)
}

/// Why there is no answer, in words; where the server has ended, how.
pub(super) async fn told(why: NoAnswer, mut over: Over) -> String {
    let is_broken = matches!(
        why,
        NoAnswer::Dial(_) | NoAnswer::Socket(_) | NoAnswer::Exchange(_) | NoAnswer::Odd(_)
    );
    if is_broken {
        let ended = tokio::time::timeout(SOON, over.wait_for(Option::is_some)).await;
        if let Ok(Ok(how)) = ended
            && let Some(how) = how.as_deref()
        {
            return format!("the agent's server ended: {how}");
        }
    }
    let told = why.to_string();
    told.chars().take(ERROR_CHARS_MAX).collect()
}
