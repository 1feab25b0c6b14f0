//! A question that the gate itself asks of AWS, signed. Never one of an agent's.

use postern_contract::Secret;

use super::canonical::{self, ALGORITHM, Scope};

/// Who signs, and for which service.
pub(crate) struct Signer<'a> {
    pub(crate) access_key: &'a str,
    pub(crate) secret_key: &'a Secret,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
}

/// A field of a head.
pub(crate) type Field = (&'static str, Vec<u8>);

impl Signer<'_> {
    /// What a POST to `/` with these fields, named in lower case, has to have besides; `None` for a time that no calendar has.
    pub(crate) fn post(
        &self,
        at_ms: i64,
        host: &str,
        fields: &[Field],
        body: &[u8],
    ) -> Option<[Field; 2]> {
        let scope = Scope::at(at_ms, self.region, self.service)?;
        let date = ("x-amz-date", scope.stamp.clone().into_bytes());
        let host = ("host", host.as_bytes().to_vec());
        let all = fields.iter().chain([&date, &host]);
        let mut signed: canonical::Fields = all
            .map(|(name, value)| ((*name).to_owned(), canonical::plain(value)))
            .collect();
        signed.sort_unstable();
        let request = canonical::request("POST", ("/", ""), &signed, &canonical::digest_of(body));
        let key = scope.key(self.secret_key.expose());
        let signature = canonical::signature(&key, &scope.text(&request));
        let (id, words, names) = (self.access_key, &scope.words, canonical::names(&signed));
        let authorization = format!(
            "{ALGORITHM} Credential={id}/{words}, SignedHeaders={names}, Signature={signature}"
        );
        Some([date, ("authorization", authorization.into_bytes())])
    }
}
