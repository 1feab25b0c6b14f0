//! The steps of a walk: each is said, called, answered and judged. Never hides an answer that is not as said.

use std::{fmt::Display, net::SocketAddr};

use serde_json::Value;

use super::{
    call,
    orders::{Orders, Seen},
    stage::KEY,
};
use crate::{Failure, ask::Answer, terminal::say};

/// One walk through the devbox.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    api: SocketAddr,
    orders: &'a Orders,
    steps: u32,
    wrong: u32,
}

impl<'a> Walk<'a> {
    pub(super) fn new(api: SocketAddr, orders: &'a Orders) -> Self {
        Self {
            api,
            orders,
            steps: 0,
            wrong: 0,
        }
    }

    /// Begins a step.
    pub(super) fn step(&mut self, title: &str) {
        self.steps += 1;
        say(&format!("{}. {title}", self.steps));
    }

    /// Invokes the agent, showing the call and the answer. An answer with the credential in it is wrong whatever it says.
    pub(super) async fn invoke(&mut self, message: &str) -> Value {
        say(&format!("   $ {}", call::curl_line(self.api, message)));
        match call::invoke(self.api, message).await {
            Ok(answer) => self.show(&answer),
            Err(error) => {
                self.judge(false, format_args!("no answer: {error:#}"));
                Value::Null
            }
        }
    }

    fn show(&mut self, answer: &Answer) -> Value {
        say(&format!("   {}", answer.text));
        if !answer.status.is_success() {
            self.judge(false, format_args!("the status is {}", answer.status));
        }
        if answer.text.contains(KEY) {
            self.judge(false, "the credential stands in the answer");
        }
        answer.json()
    }

    /// A line of explanation.
    pub(super) fn note(&self, line: impl Display) {
        say(&format!("   {line}"));
    }

    /// An order, by the order service's own address.
    pub(super) fn order_url(&self, number: u32) -> String {
        format!("http://{}/orders/{number}", self.orders.address())
    }

    /// What reached the order service since the last time.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.orders.take_seen()
    }

    /// Says whether something is as promised.
    pub(super) fn judge(&mut self, is_so: bool, what: impl Display) {
        if is_so {
            return say(&format!("   ok: {what}"));
        }
        self.wrong += 1;
        say(&format!("   NOT AS SAID: {what}"));
    }

    /// Ends a step.
    pub(super) fn end_step(&self) {
        say("");
    }

    /// Whether all was as said.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if self.wrong == 0 {
            say(&format!("All {} steps were as said.", self.steps));
            return Ok(());
        }
        Err(Failure::Run(format!(
            "{} of what the tour promised was not so",
            self.wrong
        )))
    }

    /// Both sides of the credential, on this terminal only.
    pub(super) fn both_sides(&mut self, sent: &Value) {
        let headers = sent["headers"].as_object();
        let names: Vec<_> = headers
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .collect();
        self.note(format_args!(
            "the agent sent:  {} {}   headers of its own: {}",
            sent["method"].as_str().unwrap_or("?"),
            sent["url"].as_str().unwrap_or("?"),
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        ));
        self.tool_saw();
    }

    /// The tool's side alone.
    pub(super) fn tool_saw(&mut self) {
        let seen = self.seen();
        for Seen {
            line,
            authorization,
        } in &seen
        {
            let shown = authorization.as_deref().unwrap_or("none");
            self.note(format_args!(
                "the tool saw:    {line}   authorization: {shown}"
            ));
        }
        let bearer = format!("Bearer {KEY}");
        let all = !seen.is_empty()
            && seen
                .iter()
                .all(|seen| seen.authorization.as_deref() == Some(bearer.as_str()));
        self.judge(
            all,
            "the gate added the credential on the way out; the agent never had it",
        );
    }
}
