//! Asks a number of times over a number of connections and says how long it took; or opens streams and holds them. Every
//! answer is looked at: one that is not 200 (or 101) counts as failed.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, task::LocalSet};

use crate::{
    answer::Answers,
    dismissed,
    options::Options,
    route::{Route, Wire},
    say,
};

/// What is asked, and how often.
struct Plan {
    route: Route,
    /// The request's bytes.
    request: Vec<u8>,
    /// Whether each request has a connection of its own.
    fresh: bool,
    /// Requests that are not begun yet.
    left: Cell<u64>,
    /// Nanoseconds of each answer, from the first byte sent to the last byte read.
    taken: RefCell<Vec<u64>>,
    failed: Cell<u64>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "a load generator is what the clock is for"
)]
fn now() -> Instant {
    Instant::now()
}

/// `--target T --host H`, and `--field 'name: value'` for each field more. With `--body TEXT` it is a POST of that JSON.
fn request(options: &Options) -> anyhow::Result<Vec<u8>> {
    let target: String = options.must("target")?;
    let host: String = options.must("host")?;
    let fields = options.all("field").map(|field| format!("{field}\r\n"));
    let fields: String = fields.collect();
    let (method, fields, body) = match options.maybe::<String>("body")? {
        None => ("GET", fields, String::new()),
        Some(body) => {
            let length = body.len();
            let said = format!("content-type: application/json\r\ncontent-length: {length}\r\n");
            ("POST", fields + &said, body)
        }
    };
    let head = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n");
    Ok((head + &body).into_bytes())
}

/// Asks `--requests N` times over `--connections N`, or each time anew with `--fresh yes`.
pub(crate) async fn load(options: &Options) -> anyhow::Result<()> {
    let count: u64 = options.must("requests")?;
    let plan = Rc::new(Plan {
        route: Route::new(options)?,
        request: request(options)?,
        fresh: options.maybe::<String>("fresh")?.is_some(),
        left: Cell::new(count),
        taken: RefCell::new(Vec::with_capacity(usize::try_from(count)?)),
        failed: Cell::new(0),
    });
    let local = LocalSet::new();
    let start = now();
    let workers = (0..options.must::<usize>("connections")?).map(|turn| {
        let plan = Rc::clone(&plan);
        local.spawn_local(async move { work(&plan, turn).await })
    });
    let workers: Vec<_> = workers.collect();
    local
        .run_until(async {
            for worker in workers {
                worker.await??;
            }
            anyhow::Ok(())
        })
        .await?;
    let seconds = start.elapsed().as_secs_f64();
    let mut taken = plan.taken.take();
    taken.sort_unstable();
    let at = |percent: usize| {
        let nanoseconds = taken.get(taken.len().saturating_sub(1) * percent / 100);
        nanoseconds.map(|taken| *taken as f64 / 1000.0)
    };
    say(&json!({
        "requests": taken.len(),
        "failed": plan.failed.get(),
        "seconds": seconds,
        "p50_us": at(50),
        "p99_us": at(99),
    }))?;
    Ok(())
}

async fn work(plan: &Plan, turn: usize) -> anyhow::Result<()> {
    let mut kept: Option<(Box<dyn Wire>, Answers)> = None;
    while let Some(left) = plan.left.get().checked_sub(1) {
        plan.left.set(left);
        let start = now();
        let (mut stream, mut answers) = match kept.take() {
            Some(kept) => kept,
            None => (plan.route.open(turn).await?, Answers::default()),
        };
        stream.write_all(&plan.request).await?;
        stream.flush().await?;
        let head = answers.next(&mut stream).await?;
        if head.status != 200 {
            plan.failed.set(plan.failed.get() + 1);
        }
        let taken = u64::try_from(start.elapsed().as_nanos())?;
        plan.taken.borrow_mut().push(taken);
        kept = (!plan.fresh && !head.last).then_some((stream, answers));
    }
    Ok(())
}

/// How long one stream may take to begin.
const BEGIN_MAX: Duration = Duration::from_secs(30);

/// Opens `--connections N` streams, sees each one begin, and holds them all until it is dismissed.
pub(crate) async fn hold(options: &Options) -> anyhow::Result<()> {
    let (route, request) = (Route::new(options)?, request(options)?);
    let count: usize = options.must("connections")?;
    let mut held = Vec::with_capacity(count);
    for turn in 0..count {
        let stream = tokio::time::timeout(BEGIN_MAX, begin(&route, &request, turn)).await;
        match stream {
            Ok(stream) => held.push(stream?),
            Err(_) => bail!("stream {turn} did not begin"),
        }
    }
    say(&json!({ "held": held.len() }))?;
    dismissed().await
}

async fn begin(route: &Route, request: &[u8], turn: usize) -> anyhow::Result<Box<dyn Wire>> {
    let mut stream = route.open(turn).await?;
    stream.write_all(request).await?;
    let mut answers = Answers::default();
    let head = answers.head(&mut stream).await?;
    ensure!(
        matches!(head.status, 101 | 200),
        "a stream was answered {}",
        head.status
    );
    // The first event, or the first frame.
    if !answers.has_more() {
        answers.fill(&mut stream).await?;
    }
    Ok(stream)
}
