//! A secret that a 1Password Connect server hands out, read by its HTTP API. Never follows a redirect, and never repeats a word of what
//! it says.
//!
//! ```text
//! ask ─▶ token from its file ─▶ the vault of this name ─▶ its item of this title ─▶ that item ─▶ the field, by its label or id
//! ```

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use postern_contract::Secret;
use postern_policy::CanonicalUrl;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::timeout;

use super::{
    Ask, Asking, NoSecret, SECRET_BYTES_MAX,
    errands::{self, Question, Unanswered, own},
    file,
    vault::url,
};
use crate::{dial::Roots, token::Text};

/// The largest answer, in bytes: an item with all its fields, or a list of those with one title.
const ANSWER_BYTES_MAX: usize = 2 << 20;

/// How long an id of theirs is; names can be of any length.
const ID_BYTES: usize = 26;

/// `onepassword = { url = "URL", vault = "NAME", item = "TITLE", section = "LABEL", field = "LABEL", token_file = "FILE" }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub(super) struct OnePassword {
    url: CanonicalUrl,
    ca: Option<PathBuf>,
    vault: String,
    item: String,
    section: Option<String>,
    field: String,
    token_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    url: String,
    #[serde(default)]
    plaintext: bool,
    ca: Option<PathBuf>,
    vault: String,
    item: String,
    section: Option<String>,
    field: String,
    token_file: PathBuf,
}

/// Why 1Password gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("1Password at {at}, reading `{what}`: {why}")]
pub(crate) struct NoItem {
    at: String,
    what: String,
    why: Why,
}

/// What was wrong. None of these says a word that came from there.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("it did not answer within `timeout`")]
    Late,
    #[error("it answered {}{}", .0.as_u16(), hint(*.0))]
    Status(StatusCode),
    #[error("its answer is no JSON as its API has it")]
    NotJson,
    #[error("there is no such `{0}`, or this token may not see it")]
    Nothing(&'static str),
    #[error("there are several of that name: say the id as `{0}`")]
    Several(&'static str),
    #[error("the value is empty")]
    Empty,
    #[error("the value is larger than {} KiB", SECRET_BYTES_MAX >> 10)]
    TooLarge,
    #[error("the token cannot stand in a request")]
    Unfit,
}

/// What a status hardly means but this.
fn hint(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => ": it does not take this token",
        403 => ": this token may not read that vault",
        404 => ": nothing is there",
        _ => "",
    }
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    sections: Vec<Section>,
    #[serde(default)]
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct Section {
    id: String,
    #[serde(default)]
    label: String,
}

#[derive(Deserialize)]
struct Field {
    id: String,
    #[serde(default)]
    label: String,
    value: Option<Text>,
    section: Option<Named>,
}

impl TryFrom<Written> for OnePassword {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let names = [
            ("vault", &written.vault),
            ("item", &written.item),
            ("field", &written.field),
        ];
        let is_odd = |text: &str| {
            text.is_empty() || text.contains(['"', '\\']) || text.contains(char::is_control)
        };
        if let Some((key, _)) = names.iter().find(|(_, name)| is_odd(name)) {
            return Err(format!(
                "`{key}` is a name or an id, without quotes and backslashes"
            ));
        }
        Ok(Self {
            url: url(
                ("1Password", &written.url),
                (written.plaintext, written.ca.is_some()),
            )?,
            ca: written.ca,
            vault: written.vault,
            item: written.item,
            section: written.section,
            field: written.field,
            token_file: written.token_file,
        })
    }
}

impl Ask for OnePassword {
    fn ask<'a>(&'a self, asking: Asking<'a>) -> BoxFuture<'a, Result<Secret, NoSecret>> {
        Box::pin(async move {
            let answered = timeout(asking.time, self.value(asking)).await;
            answered.unwrap_or_else(|_| Err(self.failed(Why::Late)))
        })
    }

    fn inspect(&self, directory: &Path) -> Result<(), NoSecret> {
        file::look(&directory.join(&self.token_file))?;
        if let Some(ca) = &self.ca {
            Roots::read(&directory.join(ca))?;
        }
        Ok(())
    }

    fn key(&self) -> &'static str {
        "onepassword"
    }
}

impl OnePassword {
    async fn value(&self, asking: Asking<'_>) -> Result<Secret, NoSecret> {
        let token = own(asking.directory, &self.token_file).await?;
        let token = self.bearer(&token)?;
        let vault = self
            .id(asking, &token, ("vault", "name", "/v1/vaults"))
            .await?;
        let items = format!("/v1/vaults/{vault}/items");
        let item = self.id(asking, &token, ("item", "title", &items)).await?;
        let item: Item = self.get(asking, &token, &format!("{items}/{item}")).await?;
        self.read(item).map_err(|why| self.failed(why))
    }

    /// The id of what has a name, which may be the id itself.
    async fn id(
        &self,
        asking: Asking<'_>,
        token: &HeaderValue,
        (what, attribute, list): (&'static str, &str, &str),
    ) -> Result<String, NoSecret> {
        let name = if what == "vault" {
            &self.vault
        } else {
            &self.item
        };
        if is_id(name) {
            return Ok(name.clone());
        }
        let filter = format!("{attribute} eq \"{name}\"");
        let filter = utf8_percent_encode(&filter, NON_ALPHANUMERIC);
        let found: Vec<Named> = self
            .get(asking, token, &format!("{list}?filter={filter}"))
            .await?;
        match <[Named; 1]>::try_from(found) {
            // It becomes a part of a path.
            Ok([Named { id }]) if is_id(&id) => Ok(id),
            Ok(_) => Err(self.failed(Why::NotJson)),
            Err(none) if none.is_empty() => Err(self.failed(Why::Nothing(what))),
            Err(_) => Err(self.failed(Why::Several(what))),
        }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        asking: Asking<'_>,
        token: &HeaderValue,
        target: &str,
    ) -> Result<T, NoSecret> {
        let roots = errands::roots(asking.directory, self.ca.as_deref()).await?;
        let base = self.url.path().to_string();
        let question = Question {
            authority: self.url.authority(),
            roots: roots.as_ref(),
            method: Method::GET,
            target: &format!("{}{target}", base.trim_end_matches('/')),
            fields: HeaderMap::from_iter([(header::AUTHORIZATION, token.clone())]),
            body: &[],
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let answered = asking.errands.ask(question).await;
        let (status, body): (StatusCode, Bytes) =
            answered.map_err(|unanswered| self.failed(unanswered.into()))?;
        if !status.is_success() {
            return Err(self.failed(Why::Status(status)));
        }
        serde_json::from_slice(&body).map_err(|_| self.failed(Why::NotJson))
    }

    /// The one field that is meant.
    fn read(&self, item: Item) -> Result<Secret, Why> {
        let sections = item.sections.into_iter();
        let within: Option<Vec<String>> = self.section.as_ref().map(|name| {
            let meant = sections.filter(|section| section.label == *name || section.id == *name);
            meant.map(|section| section.id).collect()
        });
        let is_within = |field: &Field| match (&within, &field.section) {
            (None, _) => true,
            (Some(ids), Some(section)) => ids.contains(&section.id),
            (Some(_), None) => false,
        };
        let named = item.fields.into_iter().filter(|field| {
            (field.label == self.field || field.id == self.field) && is_within(field)
        });
        let mut values = named.filter_map(|field| field.value);
        let value = values.next().ok_or(Why::Nothing("field"))?.into_secret();
        if values.next().is_some() {
            return Err(Why::Several("field"));
        }
        match value.expose().len() as u64 {
            0 => Err(Why::Empty),
            length if length > SECRET_BYTES_MAX => Err(Why::TooLarge),
            _ => Ok(file::without_last_line_break(value.expose().to_vec())),
        }
    }

    fn bearer(&self, token: &Secret) -> Result<HeaderValue, NoSecret> {
        let value = [b"Bearer ", token.expose()].concat();
        let mut value = HeaderValue::try_from(value).map_err(|_| self.failed(Why::Unfit))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn failed(&self, why: Why) -> NoSecret {
        let what = format!("{}/{}/{}", self.vault, self.item, self.field);
        let at = self.url.authority().to_string();
        NoItem { at, what, why }.into()
    }
}

fn is_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() == ID_BYTES && text.bytes().all(fits)
}

#[cfg(test)]
mod tests;
