//! The operator's own store, as far as the config speaks of it: where it is, what is wanted from it, and what uses that. Never
//! opens it.

use std::collections::{BTreeMap, BTreeSet};

use postern_contract::{
    SecretName,
    config::{Problem, ProxyCredential, Store, StoreKeyPlace},
};

use super::{Config, Written};
use crate::{
    inject::Credentials,
    secret::{self, Base},
};

/// Everything that does not go together.
pub(super) fn problems(document: &Written) -> Vec<Problem> {
    let Some(store) = &document.store else {
        let stored = document
            .secrets
            .iter()
            .filter(|(_, source)| source.is_stored());
        let faults = stored.map(|(name, _)| {
            let words = "there is no store: say where it is, as in `[store]` with `path = \"secrets.store\"` and \
                         `key = { file = \"store.key\" }`";
            Problem::at(["secrets", name.as_str(), "store"], words)
        });
        return faults.collect();
    };
    let mut problems = Vec::new();
    let mut wrong = |key: &str, words: String| problems.push(Problem::at(["store", key], words));
    if store.path.file_name().is_none() {
        wrong("path", "a store is a file".to_owned());
    }
    match &store.key.place {
        StoreKeyPlace::Credential(name) => {
            if let Err(words) = secret::is_credential(name) {
                wrong("key", words.to_owned());
            }
        }
        StoreKeyPlace::File(file) if *file == store.path => {
            wrong("key", "the store and its key are two files".to_owned());
        }
        StoreKeyPlace::File(_) => {}
    }
    problems
}

impl Config {
    /// Where the operator's own secrets lie.
    pub(crate) fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// What secrets are read by.
    pub(crate) fn base(&self) -> Base<'_> {
        Base {
            directory: self.source.directory(),
            store: self.store.as_ref(),
            taken: Some(&self.taken),
        }
    }

    /// The secrets that are in the store.
    pub(crate) fn stored(&self) -> BTreeSet<SecretName> {
        let stored = self.secrets.iter().filter(|(_, source)| source.is_stored());
        stored.map(|(name, _)| name.clone()).collect()
    }

    /// What uses each secret, for people.
    pub(crate) fn users_of_secrets(&self) -> BTreeMap<SecretName, Vec<String>> {
        let mut users: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut uses = |secret: &SecretName, user: String| {
            let users = users.entry(secret.clone()).or_default();
            if !users.contains(&user) {
                users.push(user);
            }
        };
        for (name, tool) in &self.tools {
            let secrets = tool.credential.iter().flat_map(Credentials::secrets);
            secrets.for_each(|secret| uses(secret, format!("tool {name}")));
        }
        for (name, model) in &self.models {
            let target = model.endpoint.as_ref().map(|endpoint| &endpoint.target);
            let credential = target.and_then(|target| target.credential.as_ref());
            let secrets = credential.into_iter().flat_map(Credentials::secrets);
            secrets.for_each(|secret| uses(secret, format!("model {name}")));
        }
        for (name, approver) in &self.approvals.approvers {
            uses(&approver.secret, format!("approver {name}"));
        }
        let proxy = self.egress.credential.as_ref().map(ProxyCredential::secret);
        if let Some(secret) = proxy {
            uses(secret, "the proxy of [egress]".to_owned());
        }
        users
    }
}
