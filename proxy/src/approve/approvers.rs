//! Who may answer, and how long calls wait for them. Never tells a key, and never says whose key almost fits.

use std::{sync::Arc, time::Duration};

use postern_contract::{
    ApproverName, Secret, approval::APPROVER_KEY_BYTES_MIN, config, secret::Shown,
};

use crate::secret::Secrets;

/// Everybody who may answer, with their keys.
#[derive(Default)]
pub(crate) struct Approvers {
    hold_for: Duration,
    pause_for: Duration,
    keys: Vec<(ApproverName, Arc<Secret>)>,
}

impl Approvers {
    /// The approvers of a config whose keys are here and long enough; of the others the log tells.
    pub(crate) fn new(written: &config::Approvals, secrets: &Secrets) -> Self {
        let named = written.approvers.iter();
        let keys = named.filter_map(|(name, approver)| {
            let key = secrets.get(&approver.secret)?;
            if key.expose().len() < APPROVER_KEY_BYTES_MIN {
                tracing::warn!(approver = %name, "the key has fewer than {APPROVER_KEY_BYTES_MIN} bytes and counts for nothing");
                return None;
            }
            Some((name.clone(), Arc::clone(key)))
        });
        Self {
            hold_for: written.hold_for.0,
            pause_for: written.pause_for.0,
            keys: keys.collect(),
        }
    }

    /// How long a call waits, or its run if that is paused; `None` where nobody could answer.
    pub(crate) fn wait(&self, pauses: bool) -> Option<Duration> {
        let wait = if pauses {
            self.pause_for
        } else {
            self.hold_for
        };
        (!self.keys.is_empty()).then_some(wait)
    }

    /// Whether this is still somebody who may answer.
    pub(crate) fn has(&self, name: &ApproverName) -> bool {
        self.keys.iter().any(|(known, _)| known == name)
    }

    /// Whose key this is. All are compared, whichever fits.
    pub(crate) fn whose(&self, key: &Shown) -> Option<&ApproverName> {
        let mut found = None;
        for (name, agreed) in &self.keys {
            if key.is(agreed) {
                found = Some(name);
            }
        }
        found
    }
}
