//! What is sent to a collector: OTLP in its JSON form (opentelemetry-proto 1.x), as much of it as a gate has to say. Never a
//! query string, a header or a body.

use postern_contract::Code;
use serde_json::{Value, json};

use crate::{
    audit::{Decision, Line},
    trace::Context,
};

/// `SPAN_KIND_SERVER`; the gate answers the agent.
const KIND_SERVER: u8 = 2;

/// `STATUS_CODE_ERROR` and `STATUS_CODE_UNSET`.
const STATUS_ERROR: u8 = 2;
const STATUS_UNSET: u8 = 0;

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;

/// How many hexadecimal digits a span's id has.
const SPAN_DIGITS: usize = 16;

/// One call.
pub(super) struct Span(Value);

/// One number of the gate's, or how many numbers were how large.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Metric {
    pub(super) name: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: Reading,
}

/// What a metric says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reading {
    /// What only grows.
    Sum(f64),
    /// What does not.
    Gauge(f64),
    /// How many were how large.
    Histogram(Histogram),
}

/// How many of what was counted were how large. As in Prometheus, a bucket counts what the ones below it count too.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Histogram {
    pub(super) sum: f64,
    pub(super) count: u64,
    /// The upper bound of each bucket, and how many were no larger; the last is endless.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// The buckets as OTLP has them: each counts its own alone, and the last has no bound.
    fn told(&self) -> Value {
        let below = std::iter::once(0).chain(self.buckets.iter().map(|(_, count)| *count));
        let each = self.buckets.iter().zip(below);
        let counts: Vec<String> = each
            .map(|((_, count), below)| count.saturating_sub(below).to_string())
            .collect();
        let bounds = self.buckets.iter().map(|(bound, _)| *bound);
        json!({
            "sum": self.sum,
            "count": self.count.to_string(),
            "explicitBounds": bounds.filter(|bound| bound.is_finite()).collect::<Vec<_>>(),
            "bucketCounts": counts,
        })
    }
}

/// The span that stands for a call: the end of the call's own number, which is as random as a span's id has to be.
pub(crate) fn span_of(request: &str) -> Option<&str> {
    let span = request.get(request.len().checked_sub(SPAN_DIGITS)?..)?;
    span.bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then_some(span)
}

impl Span {
    /// The span of a call; in a trace of its own, named by the call's number, where its caller named none.
    pub(super) fn of(line: &Line, context: Option<&Context>, began_ms: i64) -> Option<Self> {
        let request = line.request.as_ref()?.as_str();
        let trace = match context {
            Some(context) => context.trace.as_str(),
            None => request.get(request.len().checked_sub(2 * SPAN_DIGITS)?..)?,
        };
        let began = i128::from(began_ms) * 1_000_000;
        let took = i128::from(line.timings.total_us.unwrap_or(0)) * 1_000;
        let refused = line.decision == Decision::Refused;
        let status = if refused { STATUS_ERROR } else { STATUS_UNSET };
        let place = line.tool.as_ref().map(ToString::to_string);
        let place = place.or_else(|| line.model.as_ref().map(ToString::to_string));
        let method = line.method.as_deref().unwrap_or("CALL");
        let name = match place {
            Some(place) => format!("{method} {place}"),
            None => method.to_owned(),
        };
        Some(Self(json!({
            "traceId": trace,
            "spanId": span_of(request)?,
            "parentSpanId": context.map_or("", |context| context.parent.as_str()),
            "name": name,
            "kind": KIND_SERVER,
            "startTimeUnixNano": began.to_string(),
            "endTimeUnixNano": (began + took).to_string(),
            "attributes": attributes(line),
            "status": { "code": status, "message": line.reason.map_or("", Code::word) },
        })))
    }
}

fn attributes(line: &Line) -> Vec<Value> {
    let text = |key: &str, value: Option<String>| {
        value.map(|value| json!({ "key": key, "value": { "stringValue": value } }))
    };
    let number = |key: &str, value: Option<u64>| {
        value.map(|value| json!({ "key": key, "value": { "intValue": value.to_string() } }))
    };
    let decision = match line.decision {
        Decision::Allowed => "allowed",
        Decision::Intercepted => "intercepted",
        Decision::Refused => "refused",
    };
    let status = line.status.map(u64::from);
    let found = [
        text("http.request.method", line.method.clone()),
        text("url.path", line.path.clone()),
        number("http.response.status_code", status),
        text("server.address", line.authority.clone()),
        text(
            "network.peer.address",
            line.address.map(|at| at.ip().to_string()),
        ),
        text(
            "postern.request",
            line.request.as_ref().map(ToString::to_string),
        ),
        text(
            "postern.sandbox",
            line.sandbox.as_ref().map(ToString::to_string),
        ),
        text(
            "postern.agent",
            line.agent.as_ref().map(ToString::to_string),
        ),
        text("postern.run", line.run.as_ref().map(ToString::to_string)),
        text("postern.tool", line.tool.as_ref().map(ToString::to_string)),
        text(
            "postern.model",
            line.model.as_ref().map(ToString::to_string),
        ),
        text("postern.decision", Some(decision.to_owned())),
        text("postern.rule", line.rule.clone()),
        text(
            "postern.code",
            line.reason.map(|code| code.word().to_owned()),
        ),
        number("postern.bytes.up", Some(line.bytes_up)),
        number("postern.bytes.down", Some(line.bytes_down)),
        number("postern.policy_generation", Some(line.policy_generation)),
    ];
    found.into_iter().flatten().collect()
}

fn resource() -> Value {
    json!({ "attributes": [
        { "key": "service.name", "value": { "stringValue": "postern-proxy" } },
        { "key": "service.version", "value": { "stringValue": env!("CARGO_PKG_VERSION") } },
    ] })
}

/// A message of spans.
pub(super) fn traces(spans: &[Span]) -> Value {
    let spans: Vec<&Value> = spans.iter().map(|span| &span.0).collect();
    let scope = json!({ "scope": { "name": "postern" }, "spans": spans });
    json!({ "resourceSpans": [{ "resource": resource(), "scopeSpans": [scope] }] })
}

/// A message of numbers, counted from one moment and read at another, in milliseconds since 1970.
pub(super) fn metrics(all: &[Metric], when: (i64, i64)) -> Value {
    let metrics: Vec<Value> = all.iter().map(|metric| one(metric, when)).collect();
    let scope = json!({ "scope": { "name": "postern" }, "metrics": metrics });
    json!({ "resourceMetrics": [{ "resource": resource(), "scopeMetrics": [scope] }] })
}

fn one(metric: &Metric, (began_ms, now_ms): (i64, i64)) -> Value {
    let nanos = |ms: i64| (i128::from(ms) * 1_000_000).to_string();
    let labels = metric.labels.iter();
    let attributes: Vec<Value> = labels
        .map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } }))
        .collect();
    let mut point = match &metric.value {
        Reading::Sum(value) | Reading::Gauge(value) => json!({ "asDouble": value }),
        Reading::Histogram(histogram) => histogram.told(),
    };
    point["attributes"] = attributes.into();
    point["startTimeUnixNano"] = nanos(began_ms).into();
    point["timeUnixNano"] = nanos(now_ms).into();
    let points = json!([point]);
    let (kind, data) = match metric.value {
        Reading::Gauge(_) => ("gauge", json!({ "dataPoints": points })),
        Reading::Sum(_) => (
            "sum",
            json!({ "dataPoints": points, "aggregationTemporality": CUMULATIVE, "isMonotonic": true }),
        ),
        Reading::Histogram(_) => (
            "histogram",
            json!({ "dataPoints": points, "aggregationTemporality": CUMULATIVE }),
        ),
    };
    json!({ "name": metric.name, kind: data })
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn line() -> Line {
        Line {
            request: Some("req_0199c0ffee007a0b8c0d00112233aabb".parse().unwrap()),
            method: Some("POST".to_owned()),
            tool: Some("crm".parse().unwrap()),
            reason: Some(Code::PolicyDenied),
            ..Line::default()
        }
    }

    #[test]
    fn a_span_is_a_child_of_its_callers_and_else_a_trace_of_its_own() {
        let mut headers = HeaderMap::new();
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        headers.insert("traceparent", parent.parse().unwrap());
        let context = crate::trace::context(&headers).unwrap();
        let Span(span) = Span::of(&line(), Some(&context), 5).unwrap();
        assert_eq!(span["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(span["parentSpanId"], "00f067aa0ba902b7");
        assert_eq!(span["spanId"], "8c0d00112233aabb");
        assert_eq!(
            (&span["name"], &span["status"]["code"]),
            (&"POST crm".into(), &2.into())
        );
        let Span(span) = Span::of(&line(), None, 5).unwrap();
        assert_eq!(span["traceId"], "0199c0ffee007a0b8c0d00112233aabb");
        assert_eq!(
            (&span["parentSpanId"], &span["startTimeUnixNano"]),
            (&"".into(), &"5000000".into())
        );
    }

    #[test]
    fn what_only_grows_is_a_sum_and_what_does_not_a_gauge() {
        let metric = |value| Metric {
            name: "calls".to_owned(),
            labels: vec![("decision".to_owned(), "allowed".to_owned())],
            value,
        };
        let message = metrics(
            &[metric(Reading::Sum(3.0)), metric(Reading::Gauge(3.0))],
            (1, 2),
        );
        let sent = &message["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
        assert_eq!(sent[0]["sum"]["dataPoints"][0]["asDouble"], 3.0);
        assert_eq!(sent[0]["sum"]["isMonotonic"], true);
        assert_eq!(sent[1]["gauge"]["dataPoints"][0]["timeUnixNano"], "2000000");
    }

    #[test]
    fn a_bucket_counts_its_own_alone_and_the_last_has_no_bound() {
        let histogram = Histogram {
            sum: 7.5,
            count: 5,
            buckets: vec![(0.5, 1), (1.0, 3), (f64::INFINITY, 5)],
        };
        let metric = Metric {
            name: "seconds".to_owned(),
            labels: Vec::new(),
            value: Reading::Histogram(histogram),
        };
        let message = metrics(&[metric], (1, 2));
        let sent = &message["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["histogram"];
        let point = &sent["dataPoints"][0];
        assert_eq!(point["bucketCounts"], json!(["1", "2", "2"]));
        assert_eq!(point["explicitBounds"], json!([0.5, 1.0]));
        assert_eq!((&point["count"], &point["sum"]), (&"5".into(), &7.5.into()));
        assert_eq!(sent["aggregationTemporality"], CUMULATIVE);
    }
}
