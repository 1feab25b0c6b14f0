//! A posternd that only talks: it tells a running gate about sandboxes that are nothing but listeners, and goes when its
//! standard input does. Never starts an agent.

use std::{net::TcpListener, os::fd::AsFd as _, path::PathBuf};

use anyhow::{Context as _, bail};
use postern_contract::{
    SandboxId,
    link::{FromGate, LINK_VERSION, ListenerKind, News, Origin, Reply, ToGate},
};
use postern_daemon::channel::Channel;
use serde_json::json;

use crate::{dismissed, options::Options, say};

/// The gate at the other end of a link.
struct Gate {
    link: Channel,
    seq: u64,
}

impl Gate {
    async fn tell(&mut self, news: News, listener: Option<&TcpListener>) -> anyhow::Result<Reply> {
        self.seq += 1;
        let fds: Vec<_> = listener.iter().map(|listener| listener.as_fd()).collect();
        let seq = self.seq;
        self.link.send(&ToGate { seq, news }, &fds).await?;
        let (answer, _) = self
            .link
            .receive::<FromGate>()
            .await?
            .context("the gate is gone")?;
        Ok(answer.reply)
    }

    async fn done(&mut self, news: News, listener: Option<&TcpListener>) -> anyhow::Result<()> {
        match self.tell(news, listener).await? {
            Reply::Done => Ok(()),
            other => bail!("the gate says {other:?}"),
        }
    }

    /// A sandbox in which one run is active; gives its address.
    async fn sandbox(&mut self, agent: &str) -> anyhow::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let sandbox = SandboxId::fresh();
        let news = News::SandboxStarted {
            sandbox: sandbox.clone(),
            agent: agent.parse()?,
            origin: Origin::Sandbox,
            listeners: vec![ListenerKind::Gate],
        };
        self.done(news, Some(&listener)).await?;
        let run = "run_bench".parse()?;
        let user = None;
        let news = News::RunStarted { sandbox, run, user };
        self.done(news, None).await?;
        Ok(listener.local_addr()?.to_string())
    }
}

/// Keeps `--sandboxes N` of the agent `--agent NAME` at the gate behind `--link PATH`; its certificate goes to `--ca FILE`.
pub(crate) async fn keep(options: &Options) -> anyhow::Result<()> {
    let link = Channel::connect(&options.must::<PathBuf>("link")?)?;
    let mut gate = Gate { link, seq: 0 };
    let hello = News::Hello {
        version: LINK_VERSION,
        token: None,
    };
    let welcome = match gate.tell(hello, None).await? {
        Reply::Welcome(welcome) => welcome,
        other => bail!("no welcome: {other:?}"),
    };
    std::fs::write(options.must::<PathBuf>("ca")?, welcome.ca_certificate)?;
    let agent: String = options.must("agent")?;
    let mut addresses = Vec::new();
    for _ in 0..options.must::<usize>("sandboxes")? {
        addresses.push(gate.sandbox(&agent).await?);
    }
    say(&json!({ "gates": addresses }))?;
    dismissed().await
}
