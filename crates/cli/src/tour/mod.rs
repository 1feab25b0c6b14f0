//! `postern tour`: boots the example devbox from a copy of its own, walks through it with real calls, and keeps serving.
//! Never needs an account, a key or a network; never touches a file outside its temporary directory.
//!
//! ```text
//! stage.rs    the example, staged and packed          orders.rs    the order service that wants a key
//! devbox.rs   `postern up` as a child                 call.rs      one HTTP call, and the curl line that does the same
//! coded.rs    six steps with the Python agent        codeless.rs  what is left of them without python3
//! kernel.rs   what stops user namespaces here
//! ```

mod call;
mod coded;
mod codeless;
mod devbox;
mod kernel;
mod orders;
mod stage;
mod walk;

use std::net::{Ipv4Addr, SocketAddr};

use postern_contract::exit;
use postern_daemon::Shutdown;

use crate::{Failure, identity::Mode, terminal::say};

use devbox::Devbox;
use stage::{Edition, Stage};
use walk::Walk;

/// Boots the example devbox, walks through it, and keeps serving
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  postern tour --once")]
pub(crate) struct Args {
    /// End after the tour; the exit code is 0 if every step was as said
    #[arg(long)]
    once: bool,
    /// Take the agent without code, as where there is no python3
    #[arg(long)]
    codeless: bool,
    /// Where the public API listens; port 0 takes a free one
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))]
    api: SocketAddr,
    /// Where the operator API listens; port 0 takes a free one
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 8092)))]
    operator: SocketAddr,
}

/// Runs the tour.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mode = Mode::of_caller();
    say(&format!("Postern's tour, as {}.", mode.shown()));
    let weaker = kernel::examine(mode)?;
    let edition = if args.codeless {
        Edition::Codeless
    } else {
        Edition::for_this_machine()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::Run(format!("no event loop: {error}")))?;
    runtime.block_on(tour(args, mode, edition, &weaker))
}

async fn tour(args: &Args, mode: Mode, edition: Edition, weaker: &[String]) -> Result<(), Failure> {
    let orders = orders::Orders::open().await.map_err(|error| {
        Failure::Run(format!("the tour's order service cannot listen: {error}"))
    })?;
    let listen = (args.api, args.operator);
    let stage = Stage::set(edition, mode, (orders.address(), listen))?;
    let shutdown =
        Shutdown::from_signals(false).map_err(|error| Failure::Run(format!("signals: {error}")))?;
    let mut devbox = Devbox::start(&stage, weaker, &shutdown).await?;
    say(&format!("Two daemons are up: {}\n", devbox.shown()));
    let mut walk = Walk::new(devbox.api(), &orders);
    let walked = tokio::select! {
        walked = walk_through(edition, &mut walk) => walked,
        ended = devbox.ended() => Err(ended),
        _ = shutdown.requested() => Err(Failure::Told(exit::RUN)),
    };
    if walked.is_ok() && !args.once {
        say(&invitation(devbox.api()));
        tokio::select! {
            ended = devbox.ended() => return Err(ended),
            _ = shutdown.requested() => {}
        }
    }
    devbox.stop().await;
    walked
}

async fn walk_through(edition: Edition, walk: &mut Walk<'_>) -> Result<(), Failure> {
    match edition {
        Edition::Coded => coded::walk(walk).await,
        Edition::Codeless => codeless::walk(walk).await,
    }
    walk.verdict()
}

fn invitation(api: SocketAddr) -> String {
    format!(
        "Try next, until Ctrl-C:\n  \
         curl -s http://{api}/invoke -H 'Content-Type: application/json' -d '{{\"message\":\"order 1043\"}}'\n  \
         curl -s http://{api}/invoke -H 'Content-Type: application/json' -d '{{\"message\":\"ask What can you do?\"}}'\n  \
         curl -s http://{api}/readyz"
    )
}
