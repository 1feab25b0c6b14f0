//! `[approvals]` as written: who answers for people, and how long a call waits for them. Never holds a key.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use crate::{ApproverName, Period, SecretName};

/// How long a call waits for an answer, unless the config says otherwise: less than a run may take by default.
const HOLD_FOR: Period = Period(Duration::from_secs(300));

/// How long a paused run waits for an answer, unless the config says otherwise.
const PAUSE_FOR: Period = Period(Duration::from_secs(4 * 3600));

/// Who is asked where a rule says `approval_required`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Approvals {
    /// How long a call waits; default 5 min.
    pub hold_for: Period,
    /// How long a run waits that is paused instead; default 4 h.
    pub pause_for: Period,
    /// Who may answer. Where nobody may, such a call is refused at once.
    pub approvers: BTreeMap<ApproverName, Approver>,
}

/// Somebody who may answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approver {
    /// Their key, at least 16 bytes: an entry of `[secrets]`, so that the gate alone reads it.
    pub secret: SecretName,
}

impl Default for Approvals {
    fn default() -> Self {
        Self {
            hold_for: HOLD_FOR,
            pause_for: PAUSE_FOR,
            approvers: BTreeMap::new(),
        }
    }
}
