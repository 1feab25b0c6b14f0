//! What leaves the gate in links, cookies and redirects, and how it is known again: everything is made from one key and says nothing
//! by itself. Pure. Never puts a secret into a URL but the two that the protocol wants there, `state` and `nonce`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use postern_contract::ActionId;
use sha2::{Digest as _, Sha256};

use crate::token::{Origin, Seal};

/// How long a browser's own secret is, in hexadecimal digits.
const BROWSER_DIGITS: usize = 64;

/// A link to a page, or the state of a login, was not made here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Forged;

/// What makes them.
pub(super) struct Signer(Seal);

/// A browser, by the secret in its cookie.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Browser(String);

impl Browser {
    /// The one that showed this; nothing where it is no secret of ours.
    pub(super) fn read(cookie: &str) -> Option<Self> {
        let fits = cookie.len() == BROWSER_DIGITS && cookie.bytes().all(|b| b.is_ascii_hexdigit());
        fits.then(|| Self(cookie.to_owned()))
    }

    /// One that comes for the first time.
    pub(super) fn fresh() -> std::io::Result<Self> {
        postern_daemon::files::random_hex(BROWSER_DIGITS / 2).map(Self)
    }

    /// What it is to show.
    pub(super) fn cookie(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub(super) fn digest(&self) -> Vec<u8> {
        Sha256::digest(self.0.as_bytes()).to_vec()
    }
}

impl Signer {
    pub(super) fn new(seal: Seal) -> Self {
        Self(seal)
    }

    fn mac(&self, purpose: &[u8], parts: &[&str]) -> Origin {
        let mut all = vec![&b"postern consent 1"[..], purpose];
        all.extend(parts.iter().map(|part| part.as_bytes()));
        self.0.origin(&all)
    }

    fn signed(&self, purpose: &[u8], parts: &[&str]) -> String {
        let mac = URL_SAFE_NO_PAD.encode(self.mac(purpose, parts));
        format!("{}.{mac}", parts.join("."))
    }

    /// The parts of what was signed for this purpose.
    fn read<'t, const N: usize>(
        &self,
        purpose: &[u8],
        text: &'t str,
    ) -> Result<[&'t str; N], Forged> {
        let (parts, mac) = text.rsplit_once('.').ok_or(Forged)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| Forged)?;
        let parts: Vec<&str> = parts.split('.').collect();
        let parts: [&str; N] = parts.try_into().map_err(|_| Forged)?;
        let wanted = self.mac(purpose, &parts);
        aws_lc_rs::constant_time::verify_slices_are_equal(&wanted, &mac).map_err(|_| Forged)?;
        Ok(parts)
    }

    /// The name of the page on which an end user is asked.
    pub(super) fn page(&self, action: &ActionId) -> String {
        self.signed(b"page", &[action.as_str()])
    }

    pub(super) fn read_page(&self, name: &str) -> Result<ActionId, Forged> {
        let [action] = self.read(b"page", name)?;
        action.parse().map_err(|_| Forged)
    }

    /// What the page's form says, so that no other page can send it.
    pub(super) fn form(&self, action: &ActionId, browser: &Browser) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(b"form", &[action.as_str(), browser.cookie()]))
    }

    pub(super) fn is_form(&self, action: &ActionId, browser: &Browser, said: &[u8]) -> bool {
        let wanted = self.form(action, browser);
        aws_lc_rs::constant_time::verify_slices_are_equal(wanted.as_bytes(), said).is_ok()
    }

    /// The state of one way to the provider.
    pub(super) fn state(&self, action: &ActionId, attempt: &str) -> String {
        self.signed(b"state", &[action.as_str(), attempt])
    }

    pub(super) fn read_state(&self, state: &str) -> Result<(ActionId, String), Forged> {
        let [action, attempt] = self.read(b"state", state)?;
        let action = action.parse().map_err(|_| Forged)?;
        Ok((action, attempt.to_owned()))
    }

    /// The proof of who began it (RFC 7636): made anew when it is wanted, so that it lies nowhere.
    pub(super) fn verifier(&self, action: &ActionId, attempt: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(b"verifier", &[action.as_str(), attempt]))
    }

    /// What of the proof is shown before.
    pub(super) fn challenge(&self, action: &ActionId, attempt: &str) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier(action, attempt)))
    }

    /// What an ID token repeats.
    pub(super) fn nonce(&self, action: &ActionId, attempt: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(b"nonce", &[action.as_str(), attempt]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        let directory = tempfile::tempdir().unwrap();
        Signer::new(Seal::open(directory.path()).unwrap())
    }

    #[test]
    fn what_was_not_made_here_or_for_something_else_is_known() {
        let (signer, action) = (signer(), ActionId::fresh());
        let (page, state) = (signer.page(&action), signer.state(&action, "a1"));
        assert_eq!(signer.read_page(&page), Ok(action.clone()));
        assert_eq!(
            signer.read_state(&state),
            Ok((action.clone(), "a1".to_owned()))
        );
        assert_eq!(signer.read_page(&state), Err(Forged));
        assert_eq!(signer.read_state(&page), Err(Forged));
        let other = state.replace("a1", "a2");
        for odd in ["", ".", "a", "a.b.c", &other, &state[..state.len() - 2]] {
            assert_eq!(signer.read_state(odd), Err(Forged), "{odd}");
            assert_eq!(signer.read_page(odd), Err(Forged), "{odd}");
        }
        assert_eq!(self::signer().read_page(&page), Err(Forged));
    }

    #[test]
    fn a_proof_is_long_enough_and_belongs_to_one_way() {
        let (signer, action) = (signer(), ActionId::fresh());
        let verifier = signer.verifier(&action, "a1");
        assert_eq!(verifier.len(), 43);
        assert_ne!(verifier, signer.verifier(&action, "a2"));
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        assert_eq!(signer.challenge(&action, "a1"), challenge);
        assert_ne!(signer.nonce(&action, "a1"), verifier);
    }

    #[test]
    fn a_browser_is_its_cookie_and_a_form_is_its_browsers() {
        let (signer, action) = (signer(), ActionId::fresh());
        let (one, two) = (Browser::fresh().unwrap(), Browser::fresh().unwrap());
        assert!(Browser::read(one.cookie()) == Some(one.clone()));
        assert!(Browser::read("short").is_none());
        assert!(Browser::read(&"g".repeat(64)).is_none());
        assert_ne!(one.digest(), two.digest());
        assert_ne!(signer.form(&action, &one), signer.form(&action, &two));
    }
}
