//! What the gate counts, for Prometheus: every number is made here and handed to whoever moves it. Never a label whose value
//! an agent could choose, so nobody can make the list of series grow.

mod labels;
mod sighted;

use std::sync::{Arc, atomic::Ordering};

use postern_contract::{Code, link::Sighting};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use self::{
    labels::{Asked, Call, Direction, Leg, Of, Ruled},
    sighted::Sighted,
};
use crate::{
    audit::{Kept, Line},
    secret::Health,
};

/// Upper bounds of the buckets for how long calls take, in seconds: from a refusal to a model that thinks for minutes.
const SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0,
];

/// All numbers. Clones move the same ones.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Numbers>);

struct Numbers {
    registry: Registry,
    calls: Family<Call, Counter>,
    in_flight: Gauge,
    seconds: Family<Ruled, Histogram>,
    bytes: Family<Asked, Counter>,
    legs: Family<Leg, Counter>,
    counted: Counter,
    masked: Counter,
    minted: Counter,
    tokens: Tokens,
    spans_dropped: Counter,
    config_failures: Counter,
    config_trouble: Gauge,
    secret_failures: Family<Of, Counter>,
    secret_age: Family<Of, Gauge>,
    generation: Gauge,
    audit_line: Gauge,
    audit_trouble: Gauge,
    /// No numbers, but out of the same lines.
    models: Sighted,
}

/// What came of asking for access tokens.
#[derive(Clone, Default)]
pub(crate) struct Tokens {
    pub(crate) given: Counter,
    pub(crate) failed: Counter,
}

/// What is true at this moment and not counted on the way.
pub(crate) struct Moment {
    /// The policy in force.
    pub(crate) generation: u64,
    /// How often a changed config was no good.
    pub(crate) config_failures: u64,
    /// Whether the config is not wholly in force.
    pub(crate) config_trouble: bool,
    /// How the sources of secrets are that are asked.
    pub(crate) secrets: Vec<Health>,
    /// The number of the last audit line.
    pub(crate) audit_line: u64,
    /// Whether something is wrong with the audit.
    pub(crate) audit_trouble: bool,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let seconds = Family::new_with_constructor(histogram as fn() -> Histogram);
        let mut numbers = Numbers {
            registry: Registry::with_prefix("postern"),
            calls: Family::default(),
            in_flight: Gauge::default(),
            seconds,
            bytes: Family::default(),
            legs: Family::default(),
            counted: Counter::default(),
            masked: Counter::default(),
            minted: Counter::default(),
            tokens: Tokens::default(),
            spans_dropped: Counter::default(),
            config_failures: Counter::default(),
            config_trouble: Gauge::default(),
            secret_failures: Family::default(),
            secret_age: Family::default(),
            generation: Gauge::default(),
            audit_line: Gauge::default(),
            audit_trouble: Gauge::default(),
            models: Sighted::default(),
        };
        numbers.register();
        Self(Arc::new(numbers))
    }

    /// A call has come; it is under way until the guard is dropped.
    pub(crate) fn call(&self) -> UnderWay {
        self.0.in_flight.inc();
        UnderWay(self.0.in_flight.clone())
    }

    /// A call is over, and this is its line; now it is so many milliseconds after 1970.
    pub(crate) fn ended(&self, line: &Line, kept: Kept, now_ms: i64) {
        let numbers = &self.0;
        numbers.models.ended(line, now_ms);
        numbers.calls.get_or_create(&Call::of(line)).inc();
        if let Some(us) = line.timings.total_us {
            // Far below what a float holds exactly.
            numbers
                .seconds
                .get_or_create(&Ruled::of(line))
                .observe(us as f64 / 1e6);
        }
        for (direction, bytes) in [
            (Direction::Up, line.bytes_up),
            (Direction::Down, line.bytes_down),
        ] {
            if bytes > 0 {
                let asked = Asked { direction };
                numbers.bytes.get_or_create(&asked).inc_by(bytes);
            }
        }
        if line.address.is_some() {
            numbers.legs.get_or_create(&Leg::of(line)).inc();
        }
        numbers.masked.inc_by(line.masked.unwrap_or(0).into());
        if kept == Kept::Counted {
            numbers.counted.inc();
        }
    }

    /// When each model's provider was last heard of.
    pub(crate) fn models(&self) -> Vec<Sighting> {
        self.0.models.all()
    }

    /// The counter of certificates that were minted.
    pub(crate) fn minted(&self) -> Counter {
        self.0.minted.clone()
    }

    /// The counters of access tokens that somebody was asked for.
    pub(crate) fn tokens(&self) -> Tokens {
        self.0.tokens.clone()
    }

    /// The counter of spans that no collector got.
    pub(crate) fn spans_dropped(&self) -> Counter {
        self.0.spans_dropped.clone()
    }

    /// What is not in the config any more is not shown any more.
    fn secrets(&self, secrets: &[Health]) {
        self.0.secret_failures.clear();
        self.0.secret_age.clear();
        for secret in secrets {
            let label = Of::secret(&secret.name);
            let failures = self.0.secret_failures.get_or_create(&label);
            failures.inner().store(secret.failures, Ordering::Relaxed);
            if let Some(age) = secret.age {
                let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
                self.0.secret_age.get_or_create(&label).set(seconds);
            }
        }
    }

    /// Everything in the text format of OpenMetrics.
    pub(crate) fn text(&self, moment: &Moment) -> Result<String, std::fmt::Error> {
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.0.generation.set(gauge(moment.generation));
        let failures = self.0.config_failures.inner();
        failures.store(moment.config_failures, Ordering::Relaxed);
        self.0.config_trouble.set(i64::from(moment.config_trouble));
        self.secrets(&moment.secrets);
        self.0.audit_line.set(gauge(moment.audit_line));
        self.0.audit_trouble.set(i64::from(moment.audit_trouble));
        let mut text = String::new();
        encode(&mut text, &self.0.registry)?;
        Ok(text)
    }
}

impl Numbers {
    fn register(&mut self) {
        let registry = &mut self.registry;
        let words = "Calls that ended, by what came of them";
        registry.register("calls", words, self.calls.clone());
        let words = "Calls under way";
        registry.register("calls_in_flight", words, self.in_flight.clone());
        let words = "How long calls took, to the end of the answer";
        registry.register_with_unit("call", words, Unit::Seconds, self.seconds.clone());
        let words = "Body bytes from agents (up) and to them (down)";
        registry.register_with_unit("body", words, Unit::Bytes, self.bytes.clone());
        let words = "Upstream connections that calls used, dialled or kept from another call";
        registry.register("upstream_connections", words, self.legs.clone());
        let words = "Refusals that were counted instead of written whole";
        registry.register("audit_counted", words, self.counted.clone());
        let words = "Times that a credential was found in an answer and masked";
        registry.register("credentials_masked", words, self.masked.clone());
        let words = "Certificates minted for intercepted hosts";
        registry.register("certificates_minted", words, self.minted.clone());
        let words = "Access tokens that a token endpoint gave";
        registry.register("tokens_minted", words, self.tokens.given.clone());
        let words = "Times that no access token could be had";
        registry.register("token_failures", words, self.tokens.failed.clone());
        let words = "Spans that no collector got";
        registry.register("spans_dropped", words, self.spans_dropped.clone());
        let words = "Times that a changed config was no good";
        registry.register("config_failures", words, self.config_failures.clone());
        let words = "Whether the config is not wholly in force";
        registry.register("config_trouble", words, self.config_trouble.clone());
        let words = "Times that the source of a secret was asked in vain";
        registry.register("secret_failures", words, self.secret_failures.clone());
        let words = "How long ago the value of a secret was asked for";
        let age = self.secret_age.clone();
        registry.register_with_unit("secret_age", words, Unit::Seconds, age);
        let words = "The policy generation in force";
        registry.register("policy_generation", words, self.generation.clone());
        let words = "The number of the last audit line";
        registry.register("audit_line", words, self.audit_line.clone());
        let words = "Whether something is wrong with the audit";
        registry.register("audit_trouble", words, self.audit_trouble.clone());
    }
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

/// A call that is under way.
pub(crate) struct UnderWay(Gauge);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A refusal's code as a label.
fn word(code: Option<Code>) -> &'static str {
    code.map_or("none", Code::word)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::audit::{Decision, Timings};

    #[test]
    fn calls_are_counted_by_what_the_config_names_and_by_nothing_an_agent_says() {
        let metrics = Metrics::new();
        let held = metrics.call();
        for path in ["/a", "/b", "/c"] {
            let line = Line {
                agent: Some("desk".parse().unwrap()),
                path: Some(path.to_owned()),
                method: Some(path.to_owned()),
                authority: Some(path.to_owned()),
                reason: Some(Code::PolicyDenied),
                bytes_up: 7,
                timings: Timings {
                    total_us: Some(1_500),
                    ..Timings::default()
                },
                ..Line::default()
            };
            metrics.ended(&line, Kept::Counted, 0);
        }
        let allowed = Line {
            decision: Decision::Allowed,
            masked: Some(4),
            address: Some("192.0.2.1:443".parse().unwrap()),
            ..Line::default()
        };
        metrics.ended(&allowed, Kept::Written, 0);
        let moment = Moment {
            generation: 3,
            config_failures: 2,
            config_trouble: true,
            secrets: vec![Health::test("stripe", 7, 2)],
            audit_line: 9,
            audit_trouble: false,
        };
        let text = metrics.text(&moment).unwrap();
        for wanted in [
            "postern_calls_total{decision=\"refused\",code=\"POLICY_DENIED\",agent=\"desk\",tool=\"\",model=\"\"} 3",
            "postern_calls_in_flight 1",
            "postern_body_bytes_total{direction=\"up\"} 21",
            "postern_call_seconds_bucket{le=\"0.0025\",decision=\"refused\"} 3",
            "postern_upstream_connections_total{from=\"kept\"} 1",
            "postern_audit_counted_total 3",
            "postern_credentials_masked_total 4",
            "postern_secret_failures_total{secret=\"stripe\"} 2",
            "postern_secret_age_seconds{secret=\"stripe\"} 7",
            "postern_policy_generation 3",
            "postern_audit_line 9",
            "postern_config_failures_total 2",
            "postern_config_trouble 1",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        for chosen in ["/a", "/b", "/c"] {
            assert!(!text.contains(chosen), "{text}");
        }
        drop(held);
        let text = metrics.text(&moment).unwrap();
        assert!(text.contains("postern_calls_in_flight 0"));
        assert_eq!(documented(), written(&text));
    }

    /// The names in the document's table.
    fn documented() -> BTreeSet<String> {
        let document = include_str!("../../../docs/metrics.md");
        let rows = document
            .lines()
            .filter_map(|line| line.strip_prefix("| `postern_"));
        rows.map(|row| row.split('`').next().unwrap().to_owned())
            .collect()
    }

    /// The names that are shown, without what every one begins with.
    fn written(text: &str) -> BTreeSet<String> {
        let types = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE postern_"));
        let names = types.map(|line| match line.split_once(' ') {
            Some((name, "counter")) => format!("{name}_total"),
            Some((name, _)) => name.to_owned(),
            None => unreachable!("{line}"),
        });
        names.collect()
    }
}
