//! Calls as OpenTelemetry spans, and the gate's numbers, sent to a collector where `OTEL_EXPORTER_OTLP_ENDPOINT` names one.
//! Never waits for the collector, and never keeps more than a bounded number of spans: what does not fit is counted.
//!
//! The opentelemetry crates (0.33) were weighed and left: for OTLP over HTTP as JSON they bring fourteen crates that the gate
//! has no other use for, prost among them, and want a client besides, for two messages that `otlp.rs` writes in a page.
//!
//! ```text
//! a call ends ─▶ Span ─▶ queue (QUEUE_MAX) ─▶ one task: BATCH_MAX or BATCH_EVERY ─▶ POST ENDPOINT/v1/traces
//!                          └── full: dropped, and counted            METRICS_EVERY ─▶ POST ENDPOINT/v1/metrics
//! ```

mod collector;
mod otlp;
mod readings;

use std::{sync::Arc, time::Duration};

use postern_daemon::{Clock, environment};
use prometheus_client::metrics::counter::Counter;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};

use self::{collector::Collector, otlp::Span};
pub(crate) use self::{collector::NoCollector, otlp::span_of};
use crate::{audit::Line, trace::Context};

/// The most spans that wait to be sent.
const QUEUE_MAX: usize = 4096;

/// The most spans of one message, and how long the first of them waits for others.
const BATCH_MAX: usize = 512;
const BATCH_EVERY: Duration = Duration::from_secs(2);

/// How often numbers are sent.
const METRICS_EVERY: Duration = Duration::from_secs(30);

/// Where spans go; nowhere, mostly. Clones share one queue.
#[derive(Clone, Default)]
pub(crate) struct Spans(Option<Queue>);

#[derive(Clone)]
struct Queue {
    spans: mpsc::Sender<Span>,
    dropped: Counter,
}

/// The task that sends.
pub(crate) struct Exporter {
    spans: mpsc::Receiver<Span>,
    dropped: Counter,
    collector: Arc<Collector>,
    clock: Clock,
}

impl Spans {
    /// Spans as the environment wants them, and the task that sends them, if it does.
    pub(crate) fn from_environment(
        dropped: Counter,
        clock: Clock,
    ) -> Result<(Self, Option<Exporter>), NoCollector> {
        let Some(endpoint) = environment::read("OTEL_EXPORTER_OTLP_ENDPOINT") else {
            return Ok((Self::default(), None));
        };
        let fields = environment::read("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default();
        let collector = Arc::new(Collector::new(&endpoint, &fields)?);
        let (sender, spans) = mpsc::channel(QUEUE_MAX);
        let exporter = Exporter {
            spans,
            dropped: dropped.clone(),
            collector,
            clock,
        };
        let queue = Queue {
            spans: sender,
            dropped,
        };
        Ok((Self(Some(queue)), Some(exporter)))
    }

    /// Whether anybody wants spans.
    pub(crate) fn are_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// A call is over. A trace that its caller did not sample is not sampled here either.
    pub(crate) fn ended(&self, line: &Line, context: Option<&Context>, began_ms: i64) {
        let Some(queue) = &self.0 else {
            return;
        };
        if context.is_some_and(|context| !context.is_sampled()) {
            return;
        }
        let span = Span::of(line, context, began_ms);
        if span.is_some_and(|span| queue.spans.try_send(span).is_err()) {
            queue.dropped.inc();
        }
    }
}

impl Exporter {
    /// Sends until every [`Spans`] is gone; `numbers` gives the gate's own, in the text format of OpenMetrics.
    pub(crate) async fn run(mut self, numbers: impl Fn() -> String + Send + 'static) {
        let began = self.clock.unix_ms();
        let mut tick = interval(METRICS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                first = self.spans.recv() => match first {
                    Some(first) => self.send_batch(first).await,
                    None => return,
                },
                _ = tick.tick() => {
                    let all = readings::of(&numbers());
                    let message = otlp::metrics(&all, (began, self.clock.unix_ms()));
                    self.told(self.collector.send("/v1/metrics", &message).await);
                }
            }
        }
    }

    async fn send_batch(&mut self, first: Span) {
        let mut batch = vec![first];
        let full = async {
            while batch.len() < BATCH_MAX {
                match self.spans.recv().await {
                    Some(span) => batch.push(span),
                    None => break,
                }
            }
        };
        // What came until then is in the batch already.
        drop(timeout(BATCH_EVERY, full).await);
        let sent = self
            .collector
            .send("/v1/traces", &otlp::traces(&batch))
            .await;
        if !self.told(sent) {
            self.dropped.inc_by(batch.len() as u64);
        }
    }

    /// Says what went wrong, if something did.
    fn told(&self, sent: Result<(), NoCollector>) -> bool {
        match sent {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "the collector did not take what the gate has seen");
                false
            }
        }
    }
}
