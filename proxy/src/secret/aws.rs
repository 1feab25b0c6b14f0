//! A secret that AWS keeps, in Secrets Manager or as a parameter of Systems Manager, read by their HTTP API. Never follows a redirect, never
//! repeats a word of what AWS says, and reads what it signs with anew each time.
//!
//! ```text
//! ask ─▶ its files ─▶ POST / GetSecretValue | GetParameter, signed (inject/sigv4) ─▶ the text ─▶ one field of it, if it is JSON
//! ```

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use postern_contract::Secret;
use postern_policy::CanonicalUrl;
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::time::timeout;

use super::{
    Ask, Asking, NoSecret, SECRET_BYTES_MAX,
    errands::{self, Question, Unanswered, own},
    file,
    vault::url,
};
use crate::{dial::Roots, inject::Signer, token::Text};

/// The largest answer, in bytes: a secret has at most 64 KiB, which JSON may spell with six characters each.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// `aws = { region = "REGION", secret = "ID" | parameter = "NAME", field = "KEY", access_key = "ID", secret_key_file = "FILE" }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub(super) struct Aws {
    url: CanonicalUrl,
    ca: Option<PathBuf>,
    region: String,
    what: What,
    field: Option<String>,
    access_key: String,
    secret_key_file: PathBuf,
    session_token_file: Option<PathBuf>,
}

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Secret(String),
    Parameter(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    region: String,
    secret: Option<String>,
    parameter: Option<String>,
    field: Option<String>,
    access_key: String,
    secret_key_file: PathBuf,
    session_token_file: Option<PathBuf>,
    endpoint: Option<String>,
    #[serde(default)]
    plaintext: bool,
    ca: Option<PathBuf>,
}

/// Why AWS gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("AWS at {at}, reading {what}: {why}")]
pub(crate) struct NoAws {
    at: String,
    what: String,
    why: Why,
}

/// What was wrong. None of these says a word that came from AWS.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("it did not answer within `timeout`")]
    Late,
    #[error("it answered {}{}", .0.as_u16(), .1)]
    Status(StatusCode, &'static str),
    #[error("its answer is no JSON as its API has it")]
    NotJson,
    #[error("the secret is no JSON object, or has no such `field` that is a text")]
    NoField,
    #[error("it is empty")]
    Empty,
    #[error("the value is larger than {} KiB", SECRET_BYTES_MAX >> 10)]
    TooLarge,
    #[error("what it is asked with cannot stand in a request")]
    Unfit,
}

/// What AWS's own words for what is wrong mean for whoever wrote the config.
const HINTS: [(&str, &str); 10] = [
    (
        "ResourceNotFoundException",
        ": there is no such secret in this region",
    ),
    (
        "ParameterNotFound",
        ": there is no such parameter in this region",
    ),
    ("InvalidRequestException", ": the secret is being deleted"),
    (
        "AccessDeniedException",
        ": this key may not read it, or not decrypt it",
    ),
    ("DecryptionFailure", ": AWS could not decrypt it"),
    ("UnrecognizedClientException", ": it does not know this key"),
    (
        "InvalidSignatureException",
        ": `secret_key_file` is another key's, or the clock is wrong",
    ),
    ("IncompleteSignature", ": it does not take this login"),
    ("ExpiredTokenException", ": the session is over"),
    ("ThrottlingException", ": it is asked too much"),
];

impl TryFrom<Written> for Aws {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let is_word = |text: &str| {
            let fits =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !text.is_empty() && text.len() <= 64 && text.bytes().all(fits)
        };
        if !is_word(&written.region) {
            return Err("`region` is one such as `eu-central-1`".to_owned());
        }
        let what = match (written.secret, written.parameter) {
            (Some(id), None) if !id.is_empty() => What::Secret(id),
            (None, Some(name)) if !name.is_empty() => What::Parameter(name),
            _ => return Err("say one of `secret` and `parameter`".to_owned()),
        };
        if written.access_key.is_empty()
            || !written
                .access_key
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric())
        {
            return Err("`access_key` is the id of a key, letters and digits".to_owned());
        }
        let endpoint = written.endpoint.unwrap_or_else(|| {
            format!(
                "https://{}.{}.amazonaws.com",
                what.service(),
                written.region
            )
        });
        let url = url(
            ("AWS", &endpoint),
            (written.plaintext, written.ca.is_some()),
        )?;
        if url.path().to_string() != "/" {
            return Err("`endpoint` has no path".to_owned());
        }
        Ok(Self {
            url,
            ca: written.ca,
            region: written.region,
            what,
            field: written.field,
            access_key: written.access_key,
            secret_key_file: written.secret_key_file,
            session_token_file: written.session_token_file,
        })
    }
}

impl What {
    fn service(&self) -> &'static str {
        match self {
            Self::Secret(_) => "secretsmanager",
            Self::Parameter(_) => "ssm",
        }
    }

    fn target(&self) -> &'static str {
        match self {
            Self::Secret(_) => "secretsmanager.GetSecretValue",
            Self::Parameter(_) => "AmazonSSM.GetParameter",
        }
    }

    fn body(&self) -> Vec<u8> {
        let body = match self {
            Self::Secret(id) => json!({ "SecretId": id }),
            Self::Parameter(name) => json!({ "Name": name, "WithDecryption": true }),
        };
        body.to_string().into_bytes()
    }

    /// The value in an answer.
    fn value(&self, body: &[u8]) -> Result<Secret, Why> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            secret_string: Option<Text>,
            secret_binary: Option<Text>,
            parameter: Option<Parameter>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Parameter {
            value: Text,
        }
        let answer: Answer = serde_json::from_slice(body).map_err(|_| Why::NotJson)?;
        match (
            self,
            answer.secret_string,
            answer.secret_binary,
            answer.parameter,
        ) {
            (Self::Secret(_), Some(text), None, None) => Ok(text.into_secret()),
            (Self::Secret(_), None, Some(binary), None) => {
                let bytes = STANDARD.decode(binary.into_secret().expose());
                bytes.map(Secret::new).map_err(|_| Why::NotJson)
            }
            (Self::Parameter(_), None, None, Some(parameter)) => Ok(parameter.value.into_secret()),
            _ => Err(Why::NotJson),
        }
    }
}

impl Ask for Aws {
    fn ask<'a>(&'a self, asking: Asking<'a>) -> BoxFuture<'a, Result<Secret, NoSecret>> {
        Box::pin(async move {
            let answered = timeout(asking.time, self.value(asking)).await;
            answered.unwrap_or_else(|_| Err(self.failed(Why::Late)))
        })
    }

    fn inspect(&self, directory: &Path) -> Result<(), NoSecret> {
        let files = [
            Some(&self.secret_key_file),
            self.session_token_file.as_ref(),
        ];
        for file in files.into_iter().flatten() {
            file::look(&directory.join(file))?;
        }
        if let Some(ca) = &self.ca {
            Roots::read(&directory.join(ca))?;
        }
        Ok(())
    }

    fn key(&self) -> &'static str {
        "aws"
    }
}

impl Aws {
    async fn value(&self, asking: Asking<'_>) -> Result<Secret, NoSecret> {
        let body = self.what.body();
        let fields = self.fields(asking, &body).await?;
        let roots = errands::roots(asking.directory, self.ca.as_deref()).await?;
        let question = Question {
            authority: self.url.authority(),
            roots: roots.as_ref(),
            method: Method::POST,
            target: "/",
            fields,
            body: &body,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let answered = asking.errands.ask(question).await;
        let (status, body) = answered.map_err(|unanswered| self.failed(unanswered.into()))?;
        if !status.is_success() {
            return Err(self.failed(Why::Status(status, hint(&body))));
        }
        self.read(&body).map_err(|why| self.failed(why))
    }

    fn read(&self, body: &Bytes) -> Result<Secret, Why> {
        let whole = self.what.value(body)?;
        let value = match &self.field {
            Some(name) => member(whole.expose(), name).ok_or(Why::NoField)?,
            None => whole,
        };
        if value.expose().len() as u64 > SECRET_BYTES_MAX {
            return Err(Why::TooLarge);
        }
        let value = file::without_last_line_break(value.expose().to_vec());
        match value.expose().is_empty() {
            true => Err(Why::Empty),
            false => Ok(value),
        }
    }

    /// What stands in the head, with the signature of all of it.
    async fn fields(&self, asking: Asking<'_>, body: &[u8]) -> Result<HeaderMap, NoSecret> {
        let secret_key = own(asking.directory, &self.secret_key_file).await?;
        let token = match &self.session_token_file {
            Some(file) => Some(own(asking.directory, file).await?),
            None => None,
        };
        let mut fields = vec![
            ("content-type", b"application/x-amz-json-1.1".to_vec()),
            ("x-amz-target", self.what.target().as_bytes().to_vec()),
        ];
        if let Some(token) = &token {
            fields.push(("x-amz-security-token", token.expose().to_vec()));
        }
        let signer = Signer {
            access_key: &self.access_key,
            secret_key: &secret_key,
            region: &self.region,
            service: self.what.service(),
        };
        let host = self.url.authority().to_string();
        let signed = signer.post(asking.errands.clock().unix_ms(), &host, &fields, body);
        let signed = signed.ok_or_else(|| self.failed(Why::Unfit))?;
        let mut head = HeaderMap::new();
        for (name, value) in fields.into_iter().chain(signed) {
            let mut value = HeaderValue::from_bytes(&value).map_err(|_| self.failed(Why::Unfit))?;
            value.set_sensitive(name == "authorization" || name == "x-amz-security-token");
            head.insert(HeaderName::from_static(name), value);
        }
        Ok(head)
    }

    fn failed(&self, why: Why) -> NoSecret {
        let what = match &self.what {
            What::Secret(id) => format!("secret `{id}`"),
            What::Parameter(name) => format!("parameter `{name}`"),
        };
        let at = self.url.authority().to_string();
        NoAws { at, what, why }.into()
    }
}

/// A text in an object of JSON; the others are passed over unread.
fn member(object: &[u8], name: &str) -> Option<Secret> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(object).ok()?;
    let value: Text = serde_json::from_str(members.get(name)?.get()).ok()?;
    Some(value.into_secret())
}

/// What a refusal hardly means but this.
fn hint(body: &[u8]) -> &'static str {
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(rename = "__type")]
        kind: String,
    }
    let refusal: Option<Refusal> = serde_json::from_slice(body).ok();
    let kind = refusal.map(|refusal| refusal.kind).unwrap_or_default();
    let name = kind.rsplit('#').next().unwrap_or_default();
    let known = HINTS.iter().find(|(known, _)| *known == name);
    known.map_or("", |(_, hint)| hint)
}

#[cfg(test)]
mod tests;
