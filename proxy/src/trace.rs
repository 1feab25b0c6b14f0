//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): what a call says of the trace that it belongs to. What is no
//! trace context stays behind; never makes one up for a call that has none.

use http::{HeaderMap, HeaderName, HeaderValue};

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// How long the fields of version 00 are together: `00-TRACE-SPAN-FLAGS`.
const PARENT_BYTES: usize = 55;

/// The most members and bytes of a `tracestate` that are passed on.
const STATE_MEMBERS_MAX: usize = 32;
const STATE_BYTES_MAX: usize = 512;

/// The trace that a call belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Context {
    /// The trace, 32 hexadecimal digits.
    pub(crate) trace: String,
    /// The caller's span, 16 hexadecimal digits.
    pub(crate) parent: String,
    /// The two digits of flags.
    flags: String,
}

/// The trace that a request belongs to, if it says so once and well.
pub(crate) fn context(headers: &HeaderMap) -> Option<Context> {
    let mut all = headers.get_all(&PARENT).iter();
    let (Some(only), None) = (all.next(), all.next()) else {
        return None;
    };
    Context::parse(only.to_str().ok()?)
}

/// Takes out of a request what is no trace context.
pub(crate) fn clean(headers: &mut HeaderMap) {
    if !headers.contains_key(&PARENT) || context(headers).is_none() {
        headers.remove(&PARENT);
        headers.remove(&STATE);
    } else if !is_state(headers) {
        headers.remove(&STATE);
    }
}

impl Context {
    fn parse(text: &str) -> Option<Self> {
        let (whole, rest) = text.split_at_checked(PARENT_BYTES)?;
        let mut parts = whole.split('-');
        let mut part = |digits| {
            let part = parts.next()?;
            (part.len() == digits && part.bytes().all(is_digit)).then(|| part.to_owned())
        };
        let (version, trace, parent, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let is_known = match version.as_str() {
            "ff" => false,
            "00" => rest.is_empty(),
            // A later version may say more behind what this one knows.
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let is_zero = |digits: &str| digits.bytes().all(|digit| digit == b'0');
        (is_known && !is_zero(&trace) && !is_zero(&parent)).then_some(Self {
            trace,
            parent,
            flags,
        })
    }

    /// Whether the caller wants the trace kept.
    pub(crate) fn is_sampled(&self) -> bool {
        u8::from_str_radix(&self.flags, 16).is_ok_and(|flags| flags & 1 == 1)
    }

    /// Names a span of the gate's as the parent of what follows.
    pub(crate) fn continued(&self, span: &str, headers: &mut HeaderMap) {
        let text = format!("00-{}-{span}-{}", self.trace, self.flags);
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(PARENT, value);
        }
    }
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn is_state(headers: &HeaderMap) -> bool {
    let (mut members, mut bytes) = (0, 0);
    for value in headers.get_all(&STATE) {
        let Ok(text) = value.to_str() else {
            return false;
        };
        bytes += text.len();
        for member in text
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            members += 1;
            if !is_member(member) {
                return false;
            }
        }
    }
    members <= STATE_MEMBERS_MAX && bytes <= STATE_BYTES_MAX
}

fn is_member(text: &str) -> bool {
    let Some((key, value)) = text.split_once('=') else {
        return false;
    };
    let is_key = |byte: u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@')
    };
    let is_value = |byte: u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'=');
    !key.is_empty() && key.bytes().all(is_key) && !value.is_empty() && value.bytes().all(is_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn passes(fields: &[(&'static str, &str)]) -> (bool, bool) {
        let mut headers = headers(fields);
        clean(&mut headers);
        (headers.contains_key(PARENT), headers.contains_key(STATE))
    }

    #[test]
    fn a_good_context_passes_as_it_is() {
        let all = headers(&[("traceparent", GOOD), ("tracestate", "a=1,b@c=2")]);
        let mut cleaned = all.clone();
        clean(&mut cleaned);
        assert_eq!(cleaned, all);
        let context = context(&all).unwrap();
        assert_eq!(context.trace, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.parent, "00f067aa0ba902b7");
        let later = format!("01{}-more", &GOOD[2..]);
        assert_eq!(passes(&[("traceparent", &later)]), (true, false));
    }

    #[test]
    fn what_is_no_context_stays_behind_with_its_state() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = format!("00-{}-{}-01", "a".repeat(32), "0".repeat(16));
        let upper = GOOD.to_uppercase();
        let longer = format!("{GOOD}-more");
        for bad in [
            "",
            "nonsense",
            &GOOD[1..],
            &upper,
            &longer,
            &zero_trace,
            &zero_span,
            &format!("ff{}", &GOOD[2..]),
        ] {
            let fields = [("traceparent", bad), ("tracestate", "a=1")];
            assert_eq!(passes(&fields), (false, false), "{bad}");
        }
        assert_eq!(passes(&[("tracestate", "a=1")]), (false, false));
        let twice = [("traceparent", GOOD), ("traceparent", GOOD)];
        assert_eq!(passes(&twice), (false, false));
        let long = format!("a={}", "x".repeat(STATE_BYTES_MAX));
        for state in ["novalue", "A=1", "a=", long.as_str()] {
            let fields = [("traceparent", GOOD), ("tracestate", state)];
            assert_eq!(passes(&fields), (true, false), "{state}");
        }
    }

    #[test]
    fn a_span_of_the_gates_takes_the_parents_place() {
        let mut fields = headers(&[("traceparent", GOOD)]);
        context(&fields)
            .unwrap()
            .continued("1111111111111111", &mut fields);
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(fields[PARENT], format!("00-{trace}-1111111111111111-01"));
    }
}
