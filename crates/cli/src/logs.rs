//! `postern logs`: what the code of a run printed, through the operator API; with `--follow` as it comes, until the run goes on no more.
//! Never prints anything of it that would act on a terminal.

use std::{net::SocketAddr, path::PathBuf};

use bytes::Bytes;
use http::{HeaderName, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use postern_contract::{RunId, Secret};
use postern_daemon::files;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::{
    Failure,
    approvals::{KEY_BYTES_MAX, OPERATOR, plain},
    ask,
    terminal::{complain, say},
};

/// How a key is shown.
const KEY: HeaderName = HeaderName::from_static("x-runagents-api-key");

/// The longest line of a stream, in bytes: a printed line is far shorter.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Shows what the code of a run printed
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  postern logs run_0199… --key-file operator.key\n  postern logs run_0199… --key-file operator.key --follow"
)]
pub(crate) struct Args {
    /// The run's id
    #[arg(value_name = "RUN")]
    run: RunId,
    /// Go on telling as it prints, until it goes on no more
    #[arg(long)]
    follow: bool,
    /// Where posternd's operator API listens
    #[arg(long, default_value = OPERATOR, value_name = "ADDRESS:PORT")]
    operator: SocketAddr,
    /// The file with the operator's key
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
}

/// Does the work.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let key = files::read_bounded(&args.key_file, KEY_BYTES_MAX)
        .map_err(|error| Failure::path(&args.key_file, error))?;
    let key = Secret::new(key.trim_ascii().to_vec());
    let follow = if args.follow { "?follow=true" } else { "" };
    let request = ask::request(args.operator)
        .uri(format!("/api/v1/runs/{}/logs{follow}", args.run))
        .header(KEY, key.expose())
        .body(Full::default())
        .map_err(|_| Failure::path(&args.key_file, "is no key"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(format!("cannot start: {error}")))?;
    let shown = runtime.block_on(show(args, request));
    shown.map_err(|error| Failure::Run(format!("the operator API at {}: {error}", args.operator)))
}

async fn show(args: &Args, request: Request<Full<Bytes>>) -> anyhow::Result<()> {
    if args.follow {
        return follow(args.operator, request).await;
    }
    let answer = ask::ask(args.operator, request).await?;
    let body = answer.json();
    if answer.status != StatusCode::OK {
        anyhow::bail!(refusal(answer.status, &body));
    }
    if let Some(dropped) = body["dropped"].as_u64().filter(|dropped| *dropped > 0) {
        complain(&format!("{dropped} lines before these are not kept"));
    }
    for line in body["lines"].as_array().into_iter().flatten() {
        tell(line);
    }
    Ok(())
}

/// Reads the stream event by event, for as long as the run goes on.
async fn follow(api: SocketAddr, request: Request<Full<Bytes>>) -> anyhow::Result<()> {
    let stream = TcpStream::connect(api).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let (parts, mut body) = sender.send_request(request).await?.into_parts();
    if parts.status != StatusCode::OK {
        let refused = http_body_util::Limited::new(body, LINE_BYTES_MAX)
            .collect()
            .await;
        let bytes = refused
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        anyhow::bail!(refusal(parts.status, &body));
    }
    let mut unread = Vec::new();
    while let Some(piece) = next(&mut body).await? {
        unread.extend_from_slice(&piece);
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<_> = unread.drain(..=end).collect();
            if !heard(line.trim_ascii())? {
                driver.abort();
                return Ok(());
            }
        }
        anyhow::ensure!(
            unread.len() <= LINE_BYTES_MAX,
            "a line of its stream is too long"
        );
    }
    anyhow::bail!("the stream broke off")
}

async fn next(body: &mut Incoming) -> anyhow::Result<Option<Bytes>> {
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame?.into_data() {
            return Ok(Some(piece));
        }
    }
    Ok(None)
}

/// Whether more follows this line of the stream.
fn heard(line: &[u8]) -> anyhow::Result<bool> {
    let Some(data) = line.strip_prefix(b"data: ") else {
        return Ok(true);
    };
    if data == b"[DONE]" {
        return Ok(false);
    }
    let event: Value = serde_json::from_slice(data)?;
    if let Some(why) = event["message"].as_str() {
        anyhow::bail!("{}", plain(why));
    }
    tell(&event);
    Ok(true)
}

/// One line, as it was printed; of what is no text for a terminal, as it may stand there.
fn tell(line: &Value) {
    say(&plain(line["text"].as_str().unwrap_or_default()));
}

fn refusal(status: StatusCode, body: &Value) -> String {
    let why = body["error"].as_str().unwrap_or("no reason was given");
    format!("{status}: {}", plain(why))
}
