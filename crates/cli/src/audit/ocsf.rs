//! One audit line as an event of the Open Cybersecurity Schema Framework 1.5.0: HTTP Activity, class 4002, with the profiles
//! `host`, `security_control` and `trace`. Never adds what the line does not say.

use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The version of the schema that events are written for.
const SCHEMA: &str = "1.5.0";

const CATEGORY_NETWORK: u64 = 4;
const CLASS_HTTP_ACTIVITY: u64 = 4002;

const UNKNOWN: u64 = 0;
const OTHER: u64 = 99;

/// `severity_id`.
const INFORMATIONAL: u64 = 1;
const LOW: u64 = 2;
const MEDIUM: u64 = 3;

/// The event for a line about calls; `None` for any other.
pub(super) fn event(line: &[u8]) -> Option<Vec<u8>> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let kind = line["kind"].as_str()?;
    if !matches!(kind, "call" | "repeated") {
        return None;
    }
    let mut event = classified(&line);
    event.extend(judged(&line));
    event.extend(carried(&line));
    event.retain(|_, value| !value.is_null());
    serde_json::to_vec(&event).ok()
}

/// Which event it is, and when.
fn classified(line: &Value) -> Map<String, Value> {
    let (activity, name) = activity(line["method"].as_str());
    let time = line["time"].as_str().and_then(unix_ms);
    let extent = match line["kind"].as_str() {
        Some("repeated") => json!({
            "count": line["times"],
            "start_time": time,
            "end_time": line["until"].as_str().and_then(unix_ms),
        }),
        _ => json!({ "duration": line["timings"]["total_us"].as_u64().map(|us| us / 1000) }),
    };
    let event = json!({
        "activity_id": activity,
        "activity_name": name,
        "category_uid": CATEGORY_NETWORK,
        "category_name": "Network Activity",
        "class_uid": CLASS_HTTP_ACTIVITY,
        "class_name": "HTTP Activity",
        "type_uid": CLASS_HTTP_ACTIVITY * 100 + activity,
        "time": time.unwrap_or(0),
        "metadata": {
            "version": SCHEMA,
            "product": { "name": "Postern", "vendor_name": "Postern", "feature": { "name": "postern-proxy" } },
            "profiles": ["host", "security_control", "trace"],
            "uid": line["request"],
            "sequence": line["seq"],
            "log_name": "audit.jsonl",
        },
    });
    joined([event, extent])
}

/// What was decided, by which rule, for whom.
fn judged(line: &Value) -> Map<String, Value> {
    let refused = line["decision"] == "refused";
    let severity = match (refused, line["reason"].as_str()) {
        (true, Some("GATE_UNAVAILABLE")) => MEDIUM,
        (true, _) => LOW,
        (false, _) if line["would_deny"] == true => LOW,
        (false, _) => INFORMATIONAL,
    };
    let (action, word) = if refused {
        (2, "Denied")
    } else {
        (1, "Allowed")
    };
    let disposition = if refused {
        (2, "Blocked")
    } else {
        (1, "Allowed")
    };
    let status = if refused {
        (2, "Failure")
    } else {
        (1, "Success")
    };
    let severity_name = ["Informational", "Low", "Medium"];
    let named = usize::try_from(severity - 1).ok();
    let rule = line["rule"].as_str();
    joined([json!({
        "severity_id": severity,
        "severity": named.and_then(|at| severity_name.get(at)),
        "action_id": action,
        "action": word,
        "disposition_id": disposition.0,
        "disposition": disposition.1,
        "status_id": status.0,
        "status": status.1,
        "status_code": line["status"].as_u64().map(|status| status.to_string()),
        "status_detail": line["reason"],
        "policy": { "name": rule.unwrap_or("none"), "version": line["policy_generation"].to_string() },
        "firewall_rule": rule.map(|rule| json!({ "name": rule })),
        "actor": {
            "app_name": line["agent"],
            "app_uid": line["sandbox"],
            "user": line["user"].as_str().map(|user| json!({ "name": user, "type_id": 1 })),
            "session": line["run"].as_str().map(|run| json!({ "uid": run })),
        },
        "unmapped": {
            "door": line["door"],
            "tool": line["tool"],
            "model": line["model"],
            "would_deny": line["would_deny"],
            "credential": line["credential"],
            "credential_generation": line["credential_generation"],
            "dropped_credentials": line["dropped_credentials"],
            "decision": line["decision"],
            "timings": line["timings"],
            "cut": line["cut"],
            "before": line["before"],
        },
    })])
}

/// What went over the wire.
fn carried(line: &Value) -> Map<String, Value> {
    let (scheme, host, port) = place(line["authority"].as_str());
    let address = line["address"].as_str();
    let address = address.and_then(|text| text.parse::<std::net::SocketAddr>().ok());
    let response = line["status"].as_u64().map(|code| json!({ "code": code }));
    let tls = line["sni"]
        .as_str()
        .map(|sni| json!({ "sni": sni, "version": "unknown" }));
    let traced = line["trace"].as_str().map(|uid| json!({ "uid": uid }));
    joined([json!({
        "http_request": {
            "http_method": line["method"].as_str().unwrap_or("UNKNOWN"),
            "uid": line["request"],
            "url": { "scheme": scheme, "hostname": host, "port": port, "path": line["path"] },
        },
        "http_response": response,
        "http_status": line["status"],
        "dst_endpoint": {
            "hostname": host.as_deref().unwrap_or("unknown"),
            "port": address.map(|at| at.port()).or(port),
            "ip": address.map(|at| at.ip().to_string()),
            "svc_name": line["tool"],
        },
        "src_endpoint": { "uid": line["sandbox"], "name": line["agent"] },
        "traffic": { "bytes_out": line["bytes_up"], "bytes_in": line["bytes_down"] },
        "tls": tls,
        "trace": traced,
    })])
}

/// `activity_id` and its caption.
fn activity(method: Option<&str>) -> (u64, &str) {
    match method {
        Some("CONNECT") => (1, "Connect"),
        Some("DELETE") => (2, "Delete"),
        Some("GET") => (3, "Get"),
        Some("HEAD") => (4, "Head"),
        Some("OPTIONS") => (5, "Options"),
        Some("POST") => (6, "Post"),
        Some("PUT") => (7, "Put"),
        Some("TRACE") => (8, "Trace"),
        Some("PATCH") => (9, "Patch"),
        Some(other) => (OTHER, other),
        None => (UNKNOWN, "Unknown"),
    }
}

/// Scheme, host and port of `https://host:port`.
fn place(authority: Option<&str>) -> (Option<&str>, Option<String>, Option<u16>) {
    let Some((scheme, rest)) = authority.and_then(|text| text.split_once("://")) else {
        return (None, None, None);
    };
    let usual = if scheme == "https" { 443 } else { 80 };
    match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (Some(scheme), Some(host.to_owned()), port.parse().ok())
        }
        _ => (Some(scheme), Some(rest.to_owned()), Some(usual)),
    }
}

fn unix_ms(text: &str) -> Option<i64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

/// One object of several, without what they have no value for.
fn joined<const N: usize>(parts: [Value; N]) -> Map<String, Value> {
    let objects = parts.into_iter().filter_map(|part| match part {
        Value::Object(object) => Some(object),
        _ => None,
    });
    objects
        .flatten()
        .map(|(key, value)| (key, without_nulls(value)))
        .collect()
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let kept = object.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                kept.map(|(key, value)| (key, without_nulls(value)))
                    .collect(),
            )
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = include_str!("golden/call.jsonl");
    const EVENTS: &str = include_str!("golden/call.ocsf.jsonl");

    #[test]
    fn calls_become_the_events_that_stand_beside_them() {
        let events: Vec<_> = CALL
            .lines()
            .filter_map(|line| event(line.as_bytes()))
            .collect();
        let found: Vec<Value> = events
            .iter()
            .map(|event| serde_json::from_slice(event).unwrap())
            .collect();
        let wanted: Vec<Value> = EVENTS
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn every_event_has_what_the_class_requires() {
        for line in CALL.lines() {
            let Some(event) = event(line.as_bytes()) else {
                continue;
            };
            let event: Value = serde_json::from_slice(&event).unwrap();
            for key in [
                "activity_id",
                "category_uid",
                "class_uid",
                "severity_id",
                "time",
                "type_uid",
            ] {
                assert!(event[key].is_u64(), "{key}: {event}");
            }
            let class = event["class_uid"].as_u64().unwrap();
            let activity = event["activity_id"].as_u64().unwrap();
            assert_eq!(event["type_uid"], class * 100 + activity);
            assert_eq!(event["metadata"]["product"]["name"], "Postern");
            assert!(event["http_request"].is_object() && event["dst_endpoint"].is_object());
        }
    }
}
