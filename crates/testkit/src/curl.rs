//! The real curl, as a caller would use it. Never follows a redirect, never reads a curlrc, never uses a proxy.

use std::process::Command;

use serde_json::Value;

/// How long one call may take, in seconds.
const SECONDS_MAX: &str = "60";

/// One call under construction.
#[derive(Debug, Clone)]
pub struct Curl(Vec<String>);

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status; 0 if there was no answer.
    pub status: u16,
    /// `1.1` or `2`.
    pub version: String,
    /// The header lines as sent, in order.
    pub head: String,
    /// The body.
    pub body: String,
    /// What curl itself complained about.
    pub error: String,
}

impl Curl {
    /// A GET.
    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self(vec![url.into()])
    }

    /// A POST of a JSON text, which need not be valid.
    #[must_use]
    pub fn post(url: impl Into<String>, json: impl Into<String>) -> Self {
        Self::get(url)
            .header("Content-Type: application/json")
            .flag("--data-binary")
            .flag(&json.into())
    }

    /// Adds a header line.
    #[must_use]
    pub fn header(self, line: &str) -> Self {
        self.flag("--header").flag(line)
    }

    /// Adds any argument of curl.
    #[must_use]
    pub fn flag(mut self, argument: &str) -> Self {
        self.0.push(argument.to_owned());
        self
    }

    /// The command, for a test that wants to hold on to the process.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new("curl");
        command
            .args([
                "--disable",
                "--silent",
                "--show-error",
                "--noproxy",
                "*",
                "--max-time",
                SECONDS_MAX,
            ])
            .args([
                "--dump-header",
                "-",
                "--write-out",
                "\n%{http_version} %{http_code}",
            ])
            .args(&self.0);
        command
    }

    /// Makes the call.
    ///
    /// # Panics
    /// When there is no curl.
    #[must_use]
    pub fn send(&self) -> Response {
        let output = self
            .command()
            .output()
            .unwrap_or_else(|error| panic!("no curl: {error}"));
        Response::read(&output.stdout, &output.stderr)
    }
}

impl Response {
    /// Takes apart what [`Curl::command`] printed.
    #[must_use]
    pub fn read(stdout: &[u8], stderr: &[u8]) -> Self {
        let text = String::from_utf8_lossy(stdout);
        let (rest, last) = text.rsplit_once('\n').unwrap_or(("", &text));
        let (version, status) = last.split_once(' ').unwrap_or(("", "0"));
        let (head, body) = after_interim(rest);
        Self {
            status: status.trim().parse().unwrap_or(0),
            version: version.to_owned(),
            head: head.to_owned(),
            body: body.to_owned(),
            error: String::from_utf8_lossy(stderr).trim().to_owned(),
        }
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Head and body of the last answer; `100 Continue` comes before it.
fn after_interim(text: &str) -> (&str, &str) {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    if head.starts_with("HTTP/1.1 1") && !body.is_empty() {
        return after_interim(body);
    }
    (head, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_told_apart() {
        let text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Forbidden\r\nx-a: b\r\n\r\n{\"a\":1}\n1.1 403";
        let response = Response::read(text, b"");
        assert_eq!((response.status, response.version.as_str()), (403, "1.1"));
        assert_eq!(response.header("x-a"), Some("b"));
        assert_eq!(response.json()["a"], 1);
    }
}
