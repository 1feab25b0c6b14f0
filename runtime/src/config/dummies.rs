//! What stands for the credentials of an agent's tools: which go together. Never makes one.

use std::collections::BTreeSet;

use postern_contract::{
    config::{Document, Dummy},
    link::DUMMIES_MAX,
};

use super::{AgentWritten, Wrong};
use crate::agent_environment;

/// All that does not go together.
pub(super) fn check(written: &AgentWritten, document: &Document<AgentWritten>) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let (mut variables, mut files, mut all) = (BTreeSet::new(), BTreeSet::new(), 0);
    for (position, name) in written.tools.iter().enumerate() {
        let dummies = document.tools.get(name).map(|tool| &*tool.dummy);
        let mut at = |message| wrong.push(Wrong::at(&["tools", &position.to_string()], message));
        for Dummy { env, file, .. } in dummies.unwrap_or_default() {
            all += 1;
            if let Some(env) = env {
                if is_ours(env) {
                    at(format!(
                        "the dummy of `{name}` is in `{env}`, which is set by Postern"
                    ));
                } else if written.env.contains_key(env) || !variables.insert(env) {
                    at(format!(
                        "the dummy of `{name}` is in `{env}`, which is set already"
                    ));
                }
            }
            if let Some(file) = file.as_ref().filter(|file| !files.insert(&file.path)) {
                let path = &file.path;
                at(format!(
                    "the dummy of `{name}` is in `~/{path}`, as another is"
                ));
            }
        }
    }
    if all > DUMMIES_MAX {
        let told = format!("these tools have {all} dummies together: {DUMMIES_MAX} at most");
        wrong.push(Wrong::at(&["tools"], told));
    }
    wrong
}

/// Postern sets keys only where there is nothing better.
fn is_ours(variable: &str) -> bool {
    agent_environment::is_reserved(variable) && !agent_environment::is_a_key(variable)
}
