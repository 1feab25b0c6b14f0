//! One invocation of the tour, and the curl line that does the same.

use std::net::SocketAddr;

use http::Method;
use http_body_util::Full;
use serde_json::json;

use crate::ask::{self, Answer};

/// The body of an invocation.
fn body(message: &str) -> String {
    json!({ "message": message }).to_string()
}

/// The curl line for [`invoke`].
pub(super) fn curl_line(api: SocketAddr, message: &str) -> String {
    let quoted = body(message).replace('\'', r"'\''");
    format!("curl -s http://{api}/invoke -H 'Content-Type: application/json' -d '{quoted}'")
}

/// POST /invoke with a message.
pub(super) async fn invoke(api: SocketAddr, message: &str) -> anyhow::Result<Answer> {
    let request = ask::request(api).method(Method::POST).uri("/invoke");
    ask::ask(api, request.body(Full::new(body(message).into()))?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curl_line_survives_a_shell() {
        let line = curl_line(([127, 0, 0, 1], 8080).into(), "it's");
        assert!(line.ends_with(r#"-d '{"message":"it'\''s"}'"#), "{line}");
    }
}
