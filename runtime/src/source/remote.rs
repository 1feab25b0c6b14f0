//! An agent packed in an object somewhere in the world: an `http` or `https` URL, of an object store or of any server. posternd asks
//! for it through the gate, which adds the credential; this says what is asked for. Never asks by itself.

use http::Uri;
use serde_json::{Value, json};

use super::{Digest, fetched::place, object};
use crate::config::Wrong;

/// A checked URL, and what must be found there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    url: Uri,
    sha256: Option<Digest>,
    pub(super) agent_setup: Vec<String>,
    renew: Option<String>,
}

impl Remote {
    pub(super) fn mean(url: &str, written: &object::Written) -> Result<Self, Wrong> {
        const URL: &[&str] = &["source", "object", "url"];
        let url = place(url).map_err(|told| Wrong::at(URL, told))?;
        let url: Uri = url
            .parse()
            .map_err(|error| Wrong::at(URL, format!("it is no URL: {error}")))?;
        Ok(Self {
            url,
            sha256: written.pinned()?,
            agent_setup: written.agent_setup.clone(),
            renew: written.renew.clone(),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &Uri {
        &self.url
    }

    /// The last part of its path, which a single file gets as its name.
    #[must_use]
    pub fn name(&self) -> String {
        let last = self.url.path().rsplit('/').next().unwrap_or_default();
        let last = percent_encoding::percent_decode_str(last);
        last.decode_utf8_lossy().into_owned()
    }

    /// The digest that the config pins, if it pins one.
    #[must_use]
    pub fn pinned(&self) -> Option<Digest> {
        self.sha256
    }

    /// What people recognise it by: a query may be what opens the door, and is nobody's to see.
    #[must_use]
    pub fn shown(&self) -> String {
        let (scheme, authority) = (self.url.scheme_str(), self.url.authority());
        let authority = authority.map(http::uri::Authority::as_str);
        let [scheme, authority] = [scheme, authority].map(Option::unwrap_or_default);
        format!("{scheme}://{authority}{}", self.url.path())
    }

    pub(super) fn described(&self) -> Value {
        let pinned = self.sha256.map(|digest| digest.to_string());
        json!({ "url": self.shown(), "sha256": pinned, "agent_setup": self.agent_setup, "renew": self.renew })
    }

    /// All that makes it another object, for the name of a version.
    pub(super) fn identity(&self) -> Value {
        json!([self.described(), self.url.to_string()])
    }
}
