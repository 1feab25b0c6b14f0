//! Shows how far an install is while it is waited for: a bar on a terminal, and else a line whenever there is something new to say.
//! Never says how it ended.

use std::{
    convert::Infallible,
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    time::Duration,
};

use http_body_util::Full;
use postern_contract::{AgentName, Secret};
use serde_json::Value;

use crate::{
    approvals::{KEY, plain},
    ask,
    terminal::complain,
};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How wide a bar is, in characters.
const WIDTH: usize = 24;

/// Of lines that are no bar: a new one for so many percent.
const STEP: u64 = 10;

/// Shows it for as long as it is polled.
pub(super) async fn watch(operator: SocketAddr, key: &Secret, agent: &AgentName) -> Infallible {
    let mut shown = Shown::default();
    loop {
        tokio::time::sleep(LOOK).await;
        if let Some(underway) = underway(operator, key, agent).await {
            shown.draw(&underway);
        }
    }
}

/// What is drawn; wiped when this is dropped.
#[derive(Default)]
struct Shown {
    is_bar: bool,
    said: Option<(String, u64)>,
}

impl Shown {
    fn draw(&mut self, underway: &Value) {
        if io::stderr().is_terminal() {
            self.is_bar = true;
            let _ = write!(io::stderr(), "\r\u{1b}[K{}", bar(underway));
            return;
        }
        let stage = plain(underway["stage"].as_str().unwrap_or_default());
        let now = (
            stage,
            underway["percent"].as_u64().unwrap_or_default() / STEP,
        );
        if self.said.as_ref() != Some(&now) {
            complain(&line(underway));
            self.said = Some(now);
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if self.is_bar {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}

async fn underway(operator: SocketAddr, key: &Secret, agent: &AgentName) -> Option<Value> {
    let request = ask::request(operator)
        .uri("/api/v1/agents")
        .header(KEY, key.expose())
        .body(Full::default())
        .ok()?;
    let answer = ask::ask(operator, request).await.ok()?.json();
    let agents = answer.as_array()?;
    let found = agents.iter().find(|one| one["name"] == agent.as_str())?;
    let underway = found["installing"].clone();
    (!underway.is_null()).then_some(underway)
}

/// `unpack  52 %  12.3 of 24.0 MiB  3.1 s`, as far as it is known.
fn line(underway: &Value) -> String {
    let mut told = plain(underway["stage"].as_str().unwrap_or_default());
    if let Some(percent) = underway["percent"].as_u64() {
        told += &format!("  {percent} %");
    }
    let mib = |value: &Value| {
        value
            .as_u64()
            .map(|bytes| bytes as f64 / f64::from(1 << 20))
    };
    match (mib(&underway["bytes"]), mib(&underway["of_bytes"])) {
        (Some(read), Some(all)) => told += &format!("  {read:.1} of {all:.1} MiB"),
        (Some(read), None) => told += &format!("  {read:.1} MiB"),
        _ => {}
    }
    format!(
        "{told}  {:.1} s",
        underway["seconds"].as_f64().unwrap_or_default()
    )
}

fn bar(underway: &Value) -> String {
    let Some(percent) = underway["percent"].as_u64() else {
        return line(underway);
    };
    let full = usize::try_from(percent.min(100)).map_or(0, |percent| percent * WIDTH / 100);
    let (full, rest) = ("#".repeat(full), ".".repeat(WIDTH - full));
    format!("[{full}{rest}] {}", line(underway))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_known_is_told_and_nothing_that_moves_a_cursor() {
        let unpack = json!({ "stage": "unpack", "seconds": 3.1, "percent": 50, "bytes": 1 << 20, "of_bytes": 2 << 20 });
        assert_eq!(
            bar(&unpack),
            "[############............] unpack  50 %  1.0 of 2.0 MiB  3.1 s"
        );
        let setup = json!({ "stage": "set\u{1b}[2Jup", "seconds": 0.0 });
        assert!(!bar(&setup).contains('\u{1b}'));
        assert!(bar(&setup).ends_with("0.0 s"));
    }
}
