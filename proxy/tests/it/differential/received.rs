//! A message as an upstream received it, taken apart by somebody else than the gate. Never forgives.

/// A message as the upstream received it.
pub(super) struct Received<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) fields: Vec<(String, &'a str)>,
    pub(super) body: String,
}

/// Takes a message apart; what is not one fails the test.
#[track_caller]
pub(super) fn received(message: &str) -> Received<'_> {
    let (head, body) = message.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    let mut line = lines.next().unwrap().split(' ');
    let (method, target) = (line.next().unwrap(), line.next().unwrap());
    assert_eq!(
        (line.next(), line.next()),
        (Some("HTTP/1.1"), None),
        "{message:?}"
    );
    let fields = lines.map(|line| {
        line.split_once(": ")
            .unwrap_or_else(|| panic!("{message:?}"))
    });
    let fields: Vec<_> = fields
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let chunked = fields.iter().any(|(name, _)| name == "transfer-encoding");
    let body = if chunked {
        whole(body)
    } else {
        body.to_owned()
    };
    Received {
        method,
        target,
        fields,
        body,
    }
}

fn whole(mut chunks: &str) -> String {
    let mut body = String::new();
    loop {
        let (length, rest) = chunks.split_once("\r\n").unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            assert_eq!(rest, "\r\n", "something follows the last chunk");
            return body;
        }
        body += &rest[..length];
        chunks = rest[length..].strip_prefix("\r\n").unwrap();
    }
}

/// What a careless server makes of a path: decoded once, slashes merged, dots followed.
pub(super) fn careless(target: &str) -> String {
    let path = target.split('?').next().unwrap();
    let decoded = percent_encoding::percent_decode_str(path)
        .decode_utf8_lossy()
        .replace('\\', "/");
    let mut segments = Vec::new();
    for segment in decoded.split('/') {
        match segment.split(';').next().unwrap() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment.to_owned()),
        }
    }
    format!("/{}", segments.join("/"))
}
