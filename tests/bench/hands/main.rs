//! The hands of `tests/bench/gate`: a load generator that speaks every way in, an upstream that counts, a plain pipe to
//! compare with, and a posternd that only talks. Lean, so that they are not what is measured. Never part of a package.
//!
//! ```text
//! hands load | hold ──▶ the proxy in question ──▶ hands upstream
//!                          ▲ listener (only for a gate)
//!                    hands house
//! ```

mod answer;
mod house;
mod load;
mod options;
mod pipe;
mod route;
mod upstream;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use self::options::Options;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "hands: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let options = Options::parse(arguments)?;
    match task.as_str() {
        "load" => load::load(&options).await,
        "hold" => load::hold(&options).await,
        "upstream" => upstream::serve(&options).await,
        "pipe" => pipe::serve(&options).await,
        "house" => house::keep(&options).await,
        _ => anyhow::bail!("say load, hold, upstream, pipe or house; tests/bench/gate does"),
    }
}

/// Says one line of JSON to whoever started this.
fn say(line: &serde_json::Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Waits until whoever started this closes its standard input.
async fn dismissed() -> anyhow::Result<()> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        let _nobody = sender.send(());
    });
    Ok(receiver.await?)
}
