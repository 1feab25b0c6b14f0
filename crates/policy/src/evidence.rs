//! What a request shows besides method and URL: header fields, body, run and user. Never trusts what it was not shown:
//! a rule that needs it cannot be judged then.

use std::borrow::Cow;

/// The longest body that a rule looks into, in bytes. A longer one cannot be judged.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What is known of a request besides [`Facts`](crate::Facts). What is left out counts as hidden, never as empty.
///
/// ```
/// use postern_policy::{BodyShown, Evidence};
///
/// let fields = [("content-type", &b"application/json"[..])];
/// let evidence = Evidence::none()
///     .with_headers(fields)
///     .with_body(BodyShown::Whole(br#"{"amount": 12}"#));
/// # let _ = evidence;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Evidence<'a> {
    pub(crate) headers: Option<Vec<(Cow<'a, str>, &'a [u8])>>,
    pub(crate) body: BodyShown<'a>,
    pub(crate) run: Option<&'a str>,
    pub(crate) user: Option<&'a str>,
}

/// What is seen of a request's body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BodyShown<'a> {
    /// Nobody looked.
    #[default]
    Hidden,
    /// The request has none.
    Absent,
    /// It is longer than [`BODY_BYTES_MAX`].
    TooLong,
    /// All of it, as it is sent.
    Whole(&'a [u8]),
}

impl<'a> Evidence<'a> {
    /// Nothing but the facts.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The header fields as they will be sent, each as often as it stands there.
    #[must_use]
    pub fn with_headers(mut self, fields: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let fields = fields.into_iter();
        self.headers = Some(fields.map(|(name, value)| (lower(name), value)).collect());
        self
    }

    /// The same, as if nobody had looked at the header fields.
    #[must_use]
    pub fn without_headers(mut self) -> Self {
        self.headers = None;
        self
    }

    /// The body as it will be sent.
    #[must_use]
    pub fn with_body(mut self, body: BodyShown<'a>) -> Self {
        self.body = body;
        self
    }

    /// The run that the call is believed to belong to.
    #[must_use]
    pub fn with_run(mut self, run: &'a str) -> Self {
        self.run = Some(run);
        self
    }

    /// The user that the run is for. Only where one listener serves one user.
    #[must_use]
    pub fn with_user(mut self, user: &'a str) -> Self {
        self.user = Some(user);
        self
    }

    /// The one value of a field; `Ok(None)` where it is not there.
    ///
    /// A field whose name differs only in `_` and `-` counts as the same: servers that hand fields on as variables
    /// cannot tell the two apart.
    pub(crate) fn header(&self, name: &str) -> Result<Option<&'a [u8]>, Unclear> {
        let fields = self.headers.as_deref().ok_or(Unclear::Hidden)?;
        let mut found = None;
        for (at, value) in fields {
            if !same_field(at, name) {
                continue;
            }
            if found.is_some() || at != name {
                return Err(Unclear::Twice);
            }
            found = Some(*value);
        }
        Ok(found)
    }
}

/// Why it is not clear what a header field or a parameter says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unclear {
    /// Nobody looked.
    Hidden,
    /// It is there twice, or under a name that some servers take for the same.
    Twice,
    /// It could be read in two ways.
    Spelling,
}

/// Names come in lower case from HTTP; only people write them otherwise.
fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

fn same_field(one: &str, other: &str) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte };
    one.len() == other.len() && one.bytes().map(fold).eq(other.bytes().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_one_value_or_none_or_is_unclear() {
        let fields = [
            ("X-Env", &b"prod"[..]),
            ("x-twice", b"a"),
            ("X-Twice", b"a"),
            ("x_like", b"b"),
        ];
        let evidence = Evidence::none().with_headers(fields);
        assert_eq!(evidence.header("x-env"), Ok(Some(&b"prod"[..])));
        assert_eq!(evidence.header("x-none"), Ok(None));
        assert_eq!(evidence.header("x-twice"), Err(Unclear::Twice));
        assert_eq!(evidence.header("x-like"), Err(Unclear::Twice));
        assert_eq!(Evidence::none().header("x-env"), Err(Unclear::Hidden));
    }
}
