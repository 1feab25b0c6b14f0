//! Who the gate is to Vault, by each method that it knows, and what a method gives. Never keeps what it logged in with.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use postern_contract::Secret;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    Account,
    api::{self, Asked, Granted, Step, Way, encoded},
};
use crate::secret::{
    NoSecret,
    errands::{own, reading},
    file,
};

/// Where Kubernetes puts the token of a pod's service account.
const JWT_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// `{ token_file = "FILE" }`, `{ role_id = "ID", secret_id_file = "FILE" }` or `{ role = "NAME" }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub(super) enum Login {
    /// A token that somebody else got.
    Token { file: PathBuf },
    /// An application's role.
    AppRole {
        role_id: String,
        secret_id_file: PathBuf,
        /// Encoded, as it stands in a path.
        mount: String,
    },
    /// A pod's service account.
    Kubernetes {
        role: String,
        jwt_file: PathBuf,
        mount: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    token_file: Option<PathBuf>,
    role_id: Option<String>,
    secret_id_file: Option<PathBuf>,
    role: Option<String>,
    jwt_file: Option<PathBuf>,
    mount: Option<String>,
}

impl TryFrom<Written> for Login {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let mount = |usual: &str| encoded("mount", written.mount.as_deref().unwrap_or(usual));
        let login = (written.token_file, written.role_id, written.role);
        match (login, written.secret_id_file, written.jwt_file) {
            ((Some(file), None, None), None, None) if written.mount.is_none() => {
                Ok(Self::Token { file })
            }
            ((None, Some(role_id), None), Some(secret_id_file), None) => Ok(Self::AppRole {
                role_id,
                secret_id_file,
                mount: mount("approle")?,
            }),
            ((None, None, Some(role)), None, jwt_file) => Ok(Self::Kubernetes {
                role,
                jwt_file: jwt_file.unwrap_or_else(|| JWT_FILE.into()),
                mount: mount("kubernetes")?,
            }),
            _ => Err(
                "a login is `{ token_file }`, or `{ role_id, secret_id_file }` with or without `mount`, or `{ role }` \
                 with or without `jwt_file` and `mount`"
                    .to_owned(),
            ),
        }
    }
}

impl Login {
    /// The file that must be the gate's alone.
    pub(super) fn own_file(&self) -> Option<&Path> {
        match self {
            Self::Token { file } => Some(file),
            Self::AppRole { secret_id_file, .. } => Some(secret_id_file),
            // Kubernetes sees to it, and other programs of the pod may read it.
            Self::Kubernetes { .. } => None,
        }
    }
}

impl Account {
    /// A client token, and for how long.
    pub(super) async fn log_in(&self, way: &Way<'_>) -> Result<Granted, NoSecret> {
        match &self.login {
            Login::Token { file } => self.known(way, own(way.directory, file).await?).await,
            Login::AppRole {
                role_id,
                secret_id_file,
                mount,
            } => {
                let secret_id = own(way.directory, secret_id_file).await?;
                let body = pairs([
                    ("role_id", role_id.as_bytes()),
                    ("secret_id", secret_id.expose()),
                ]);
                self.granted(way, mount, self.fits(body)?).await
            }
            Login::Kubernetes {
                role,
                jwt_file,
                mount,
            } => {
                let path = way.directory.join(jwt_file);
                let jwt = reading(move || file::read(&path, file::regular)).await?;
                let body = pairs([("role", role.as_bytes()), ("jwt", jwt.expose())]);
                self.granted(way, mount, self.fits(body)?).await
            }
        }
    }

    async fn granted(
        &self,
        way: &Way<'_>,
        mount: &str,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Granted, NoSecret> {
        let at = format!("auth/{mount}/login");
        let body = self.ask(way, Step::LogIn, Asked::post(&at, body)).await?;
        api::granted(&body).map_err(|why| self.failed(Step::LogIn, why))
    }

    /// A token with what Vault knows of it. One that is dead, or may not ask about itself, is none.
    async fn known(&self, way: &Way<'_>, token: Secret) -> Result<Granted, NoSecret> {
        let (life, renewable) = self.look_up(way, &token).await?;
        Ok(Granted {
            token,
            life,
            renewable,
        })
    }

    /// How long a token still lives, where it has an end, and whether it can be renewed.
    pub(super) async fn look_up(
        &self,
        way: &Way<'_>,
        token: &Secret,
    ) -> Result<(Option<Duration>, bool), NoSecret> {
        let asked = Asked::get("auth/token/lookup-self").with(token);
        let body = self.ask(way, Step::LookUp, asked).await?;
        api::looked_up(&body).map_err(|why| self.failed(Step::LookUp, why))
    }

    /// More time for a token: how long it lives from now on.
    pub(super) async fn renew(
        &self,
        way: &Way<'_>,
        token: &Secret,
    ) -> Result<Option<Duration>, NoSecret> {
        let nothing = Zeroizing::new(b"{}".to_vec());
        let asked = Asked::post("auth/token/renew-self", nothing).with(token);
        let body = self.ask(way, Step::Renew, asked).await?;
        let granted = api::granted(&body).map_err(|why| self.failed(Step::Renew, why))?;
        Ok(granted.life)
    }

    fn fits(&self, body: Option<Zeroizing<Vec<u8>>>) -> Result<Zeroizing<Vec<u8>>, NoSecret> {
        body.ok_or_else(|| self.failed(Step::LogIn, api::Why::NotText))
    }
}

/// An object of texts in JSON, wiped when dropped; `None` where one of them is no text.
fn pairs(pairs: [(&str, &[u8]); 2]) -> Option<Zeroizing<Vec<u8>>> {
    let room = pairs.iter().map(|(_, value)| 32 + 6 * value.len()).sum();
    // Whole from the start: what grows leaves copies behind.
    let mut body = Zeroizing::new(Vec::with_capacity(room));
    body.push(b'{');
    for (name, value) in pairs {
        if body.len() > 1 {
            body.push(b',');
        }
        let value = std::str::from_utf8(value).ok()?;
        serde_json::to_writer(&mut *body, name).ok()?;
        body.push(b':');
        serde_json::to_writer(&mut *body, value).ok()?;
    }
    body.push(b'}');
    Some(body)
}
