//! A secret that HashiCorp Vault keeps (key/value engine, version 2), read by its HTTP API. Never follows a redirect, never
//! repeats a word of what Vault says, and never keeps a client token anywhere but in memory.
//!
//! ```text
//! ask ─▶ session (one for all secrets of the same Vault and login) ─▶ token ─▶ read ─┬─ 200 ─▶ the field
//!                                                                                   └─ 403 ─▶ is the token dead? logged in anew, once
//! ```

mod api;
mod login;
mod session;

use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use postern_contract::Secret;
use postern_policy::{CanonicalUrl, Scheme};
use serde::Deserialize;
use tokio::time::timeout;

pub(super) use self::{api::NoVault, session::Sessions};
use self::{
    api::{Step, Why, encoded},
    login::Login,
};
use super::{Ask, Asking, NoSecret, file};
use crate::dial::Roots;

/// Where Vault has its key/value engine where nobody says otherwise.
const MOUNT: &str = "secret";

/// `vault = { url = "URL", mount = "secret", path = "PATH", field = "NAME", login = { … } }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub(super) struct Vault {
    account: Account,
    /// Where the secret is, for people: `MOUNT/PATH`.
    place: String,
    /// Where it is read, beneath `/v1/`.
    at: String,
    field: String,
}

/// Who asks which Vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    url: CanonicalUrl,
    /// The file of the authorities that alone are believed about it.
    ca: Option<PathBuf>,
    namespace: Option<String>,
    login: Login,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    url: String,
    #[serde(default)]
    plaintext: bool,
    ca: Option<PathBuf>,
    namespace: Option<String>,
    mount: Option<String>,
    path: String,
    field: String,
    login: Login,
}

impl TryFrom<Written> for Vault {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let mount = written.mount.as_deref().unwrap_or(MOUNT);
        let place = format!("{mount}/{}", written.path);
        let at = format!(
            "{}/data/{}",
            encoded("mount", mount)?,
            encoded("path", &written.path)?
        );
        let namespace = written.namespace.as_deref();
        let is_odd =
            |name: &str| name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic());
        if namespace.is_some_and(is_odd) {
            return Err("`namespace` is a path such as `team-a/`".to_owned());
        }
        if written.field.is_empty() {
            return Err("`field` names the part of the secret that is the value".to_owned());
        }
        Ok(Self {
            place,
            at,
            field: written.field,
            account: Account {
                url: url(
                    ("Vault", &written.url),
                    (written.plaintext, written.ca.is_some()),
                )?,
                ca: written.ca,
                namespace: written.namespace,
                login: written.login,
            },
        })
    }
}

/// Where somebody is asked for secrets: by https, unless the operator says that it need not be.
pub(super) fn url(
    (who, text): (&str, &str),
    (plaintext, has_ca): (bool, bool),
) -> Result<CanonicalUrl, String> {
    let url = CanonicalUrl::parse(text).map_err(|error| format!("`url` is no URL: {error}"))?;
    match (url.authority().scheme(), plaintext) {
        (Scheme::Https, false) | (Scheme::Http, true) => {}
        (Scheme::Https, true) => return Err("`plaintext` is for http".to_owned()),
        (Scheme::Http, false) => {
            return Err(format!(
                "secrets come from this {who}: say https in its `url`, or add `plaintext = true`"
            ));
        }
        (Scheme::Tcp, _) => return Err(format!("{who} is asked at https")),
    }
    if plaintext && has_ca {
        return Err("`ca` is for https".to_owned());
    }
    if url.query().is_some() {
        return Err(format!("{who}'s `url` has no query"));
    }
    Ok(url)
}

impl Ask for Vault {
    fn ask<'a>(&'a self, asking: Asking<'a>) -> BoxFuture<'a, Result<Secret, NoSecret>> {
        Box::pin(async move {
            let answered = timeout(asking.time, self.value(asking)).await;
            answered.unwrap_or_else(|_| Err(self.account.failed(self.step(), Why::Late)))
        })
    }

    fn inspect(&self, directory: &Path) -> Result<(), NoSecret> {
        if let Some(file) = self.account.login.own_file() {
            file::look(&directory.join(file))?;
        }
        if let Some(ca) = &self.account.ca {
            Roots::read(&directory.join(ca))?;
        }
        Ok(())
    }

    fn account(&self) -> Option<&Account> {
        Some(&self.account)
    }

    fn key(&self) -> &'static str {
        "vault"
    }
}

impl Vault {
    async fn value(&self, asking: Asking<'_>) -> Result<Secret, NoSecret> {
        let session = asking
            .sessions
            .of(&self.account, asking.directory, asking.errands);
        let token = session.token().await?;
        let refused = match self.read((&session.way(), &token)).await {
            Err(refused) if refused.is_forbidden() => refused,
            came => return came,
        };
        let Some(token) = session.instead_of(&token).await? else {
            return Err(refused);
        };
        let value = self.read((&session.way(), &token)).await?;
        session.took(&token).await;
        Ok(value)
    }

    async fn read(&self, (way, token): (&api::Way<'_>, &Secret)) -> Result<Secret, NoSecret> {
        let wrong = |why| self.account.failed(self.step(), why);
        let asked = api::Asked::get(&self.at).with(token);
        let body = self.account.ask(way, self.step(), asked).await?;
        let value = api::field(&body, &self.field).map_err(wrong)?;
        if value.expose().is_empty() {
            return Err(wrong(Why::NoField));
        }
        Ok(value)
    }

    fn step(&self) -> Step {
        Step::Read(self.place.clone())
    }
}

#[cfg(test)]
mod tests;
