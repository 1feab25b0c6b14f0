//! `GET /runs/{id}/logs`: what the code of a run printed, while it goes on and after; with `follow=true` line by line as it comes, until
//! the run goes on no more. Never shows more than the run's own lines, and those to nobody who may not see the run.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use postern_contract::RunId;
use postern_daemon::clock::rfc3339;
use postern_store::runs::{Run, RunStatus};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Refused, addressed::AddressedRun, runs, sse};
use crate::{
    app::App,
    printed::{FollowerPlace, Follows, Kept, Line, News},
};

/// How long lines gather before they go out together.
const GATHER: Duration = Duration::from_millis(100);

#[derive(Debug, Deserialize)]
pub(crate) struct LogsQuery {
    #[serde(default)]
    follow: bool,
}

pub(super) async fn of_run(
    State(app): State<App>,
    addressed: AddressedRun,
    query: Result<Query<LogsQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let found = runs::stored(&app, addressed.asker(), &addressed.run).await?;
    of_found(app, (found, Follows::Caller), query).await
}

/// What a run printed, whoever has found it.
pub(crate) async fn of_found(
    app: App,
    (found, who): (Run, Follows),
    query: Result<Query<LogsQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(query) = query.map_err(|rejection| Refused::Query(rejection.body_text()))?;
    if query.follow {
        let place = app.desk.printed().follower(who, &found.run);
        let place = place.ok_or(Refused::ManyFollowers)?;
        return Ok(follow(app, &found.run, place));
    }
    let kept = kept(&app, &found.run).await?;
    let lines: Vec<_> = kept.lines.iter().map(told).collect();
    let body = json!({ "run_id": found.run, "dropped": kept.dropped, "lines": lines });
    Ok(Json(body).into_response())
}

async fn kept(app: &App, run: &RunId) -> Result<Kept, Refused> {
    let kept = app.desk.printed().of(run, app.desk.store()).await;
    kept.map_err(|error| {
        tracing::error!(%error, "the store failed");
        Refused::Store
    })
}

fn told(line: &Line) -> Value {
    json!({
        "seq": line.seq,
        "at": rfc3339(line.at_ms),
        "stream": line.stream,
        "text": line.text,
    })
}

fn follow(app: App, run: &RunId, place: FollowerPlace) -> Response {
    let follower = Follower {
        app,
        run: run.clone(),
        next: 1,
        _place: place,
    };
    let events = stream::unfold(Some(follower), |follower| async {
        let mut follower = follower?;
        let (bytes, goes_on) = follower.next().await;
        Some((Ok::<_, Infallible>(bytes), goes_on.then_some(follower)))
    });
    sse::respond(run, Body::from_stream(events))
}

/// Tells one listener what one run prints. It holds no line that it has not told: one that reads slowly misses those that are kept no
/// more, and sees that by their numbers.
struct Follower {
    app: App,
    run: RunId,
    /// The number of the line that comes next.
    next: u64,
    /// Among all that follow.
    _place: FollowerPlace,
}

impl Follower {
    /// What goes out next, and whether more follows.
    async fn next(&mut self) -> (Bytes, bool) {
        let clock = self.app.desk.clock().clone();
        let beat = clock.after(sse::HEARTBEAT);
        tokio::pin!(beat);
        loop {
            // First an ear, then a look: nothing is printed between the two.
            let news = self.app.desk.printed().news(&self.run);
            let is_over = match &news {
                Some(_) => false,
                None => self.is_over().await,
            };
            let lines = match kept(&self.app, &self.run).await {
                Ok(kept) => kept.lines,
                Err(_) => {
                    return (
                        sse::broken("the store cannot be read", "STORE_UNAVAILABLE"),
                        false,
                    );
                }
            };
            let mut bytes = self.events(&lines);
            if is_over {
                bytes.extend_from_slice(sse::DONE);
                return (bytes.into(), false);
            }
            if !bytes.is_empty() {
                return (bytes.into(), true);
            }
            tokio::select! {
                () = more(news) => clock.after(GATHER).await,
                () = &mut beat => return (Bytes::from_static(sse::BEAT), true),
            }
        }
    }

    /// Whether the run goes on no more; one that cannot be looked up does not.
    async fn is_over(&self) -> bool {
        let found = self.app.desk.store().run(&self.run).await;
        !matches!(found, Ok(Some(run)) if run.status == RunStatus::Running)
    }

    /// Lines that were not told yet.
    fn events(&mut self, lines: &VecDeque<Line>) -> Vec<u8> {
        let mut text = String::new();
        for line in lines.iter().filter(|line| line.seq >= self.next) {
            let (run, line_told) = (&self.run, told(line));
            text.push_str(&format!("id: {run}:{}\ndata: {line_told}\n\n", line.seq));
        }
        if let Some(last) = lines.back() {
            self.next = self.next.max(last.seq + 1);
        }
        text.into_bytes()
    }
}

/// Returns when more was printed, or the run goes on no more; of one that is about to begin, soon.
async fn more(news: Option<News>) {
    if let Some(mut news) = news {
        // The sender is gone only with the run.
        drop(news.changed().await);
    }
}
