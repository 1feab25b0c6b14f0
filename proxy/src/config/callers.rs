//! `[callers.jwt]` as far as the gate is meant by it: where an issuer's public keys are asked for. Never judges a token.

use std::path::{Path, PathBuf};

use postern_contract::config::{Jwt, Problem};
use postern_policy::{CanonicalUrl, Host, Scheme};

use super::Written;

/// Where the public keys of an issuer are.
#[derive(Debug, Clone)]
pub(crate) struct Issuer {
    pub(crate) url: CanonicalUrl,
    /// The only authorities that are believed about it; absent means those of the system.
    pub(crate) ca: Option<PathBuf>,
}

/// Whom the gate is to ask, if anybody.
pub(super) fn issuer(
    document: &Written,
    directory: &Path,
    problems: &mut Vec<Problem>,
) -> Option<Issuer> {
    let written = document.callers.jwt.as_ref()?;
    match settle(written) {
        Ok(url) => Some(Issuer {
            url: url?,
            ca: written.jwks_ca.as_ref().map(|ca| directory.join(ca)),
        }),
        Err((key, words)) => {
            problems.push(Problem::at(["callers", "jwt", key], words));
            None
        }
    }
}

fn settle(written: &Jwt) -> Result<Option<CanonicalUrl>, (&'static str, &'static str)> {
    let text = match (&written.jwks_file, &written.jwks_url) {
        (Some(_), None) if written.jwks_ca.is_some() => {
            return Err(("jwks_ca", "this is for `jwks_url`"));
        }
        (Some(_), None) => return Ok(None),
        (None, Some(url)) => url,
        (Some(_), Some(_)) => {
            return Err((
                "jwks_url",
                "say this or `jwks_file`: keys come from one place",
            ));
        }
        (None, None) => {
            let words = "say where the issuer's public keys are: `jwks_url` or `jwks_file`";
            return Err(("jwks_file", words));
        }
    };
    let url = CanonicalUrl::parse(text).map_err(|_| ("jwks_url", "this is no URL"))?;
    match url.authority().scheme() {
        Scheme::Https => Ok(Some(url)),
        Scheme::Http if is_here(url.authority().host()) && written.jwks_ca.is_none() => {
            Ok(Some(url))
        }
        _ => Err((
            "jwks_url",
            "whoever answers there says who may call: say https (http is for this machine's own addresses)",
        )),
    }
}

fn is_here(host: &Host) -> bool {
    matches!(host, Host::Ip(address) if address.is_loopback())
}

#[cfg(test)]
mod tests {
    use postern_daemon::config::Source;

    use crate::config::{Config, Known};

    fn read(jwt: &str) -> Result<(), String> {
        let text = format!("[callers.jwt]\nissuer = \"i\"\naudience = \"a\"\n{jwt}\n");
        let source = Source::of_text("postern.toml", &text);
        let config = Config::of_source(source, &Known::new());
        config.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_come_from_one_place_that_nobody_else_can_answer_for() {
        for good in [
            "jwks_file = \"keys.json\"",
            "jwks_url = \"https://id.example/keys?tenant=a\"\njwks_ca = \"ca.pem\"",
            "jwks_url = \"http://127.0.0.1:8099/keys\"",
        ] {
            assert_eq!(read(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "1:10: say where"),
            (
                "jwks_file = \"k\"\njwks_url = \"https://id.example\"",
                "5:1: say this or",
            ),
            ("jwks_file = \"k\"\njwks_ca = \"c\"", "for `jwks_url`"),
            ("jwks_url = \"id.example\"", "no URL"),
            ("jwks_url = \"http://id.example/keys\"", "say https"),
            ("jwks_url = \"http://10.0.0.1/keys\"", "say https"),
            (
                "jwks_url = \"http://127.0.0.1/keys\"\njwks_ca = \"c\"",
                "say https",
            ),
        ] {
            let told = read(bad).unwrap_err();
            assert!(told.contains(why), "{bad}: {told}");
        }
    }
}
