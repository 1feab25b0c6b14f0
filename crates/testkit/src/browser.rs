//! A browser as far as a consent needs one: curl with a cookie jar, and somebody who presses the one button there is. Never
//! follows a redirect by itself.

use tempfile::NamedTempFile;

use crate::{Curl, curl::Response};

/// One browser with its own cookies.
#[derive(Debug)]
pub struct Browser {
    jar: NamedTempFile,
}

impl Default for Browser {
    fn default() -> Self {
        let jar = NamedTempFile::new().unwrap_or_else(|error| panic!("no cookie jar: {error}"));
        Self { jar }
    }
}

impl Browser {
    fn with_cookies(&self, curl: Curl) -> Curl {
        let jar = self.jar.path().display().to_string();
        curl.flag("--cookie")
            .flag(&jar)
            .flag("--cookie-jar")
            .flag(&jar)
    }

    /// Opens a page.
    #[must_use]
    pub fn open(&self, url: &str) -> Response {
        self.with_cookies(Curl::get(url)).send()
    }

    /// Opens a page and presses its button: what its form is answered.
    #[must_use]
    pub fn press(&self, url: &str) -> Response {
        let page = self.open(url);
        let form = form_of(&page.body).unwrap_or_default();
        self.submit(url, &form)
    }

    /// Sends a form that says this.
    #[must_use]
    pub fn submit(&self, url: &str, form: &str) -> Response {
        let curl = Curl::get(url)
            .flag("--data-raw")
            .flag(&format!("form={form}"));
        self.with_cookies(curl).send()
    }

    /// Goes from the page to the provider, logs in there, and stops before going back: the address that it is sent to.
    #[must_use]
    pub fn log_in(&self, link: &str) -> String {
        let there = location(&self.press(link));
        location(&self.open(&there))
    }

    /// The whole way: what the last page says.
    #[must_use]
    pub fn consent(&self, link: &str) -> Response {
        self.open(&self.log_in(link))
    }
}

/// What the form of a page says.
#[must_use]
pub fn form_of(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("name=\"form\" value=\"")?;
    Some(rest.split_once('"')?.0.to_owned())
}

/// Where an answer redirects to.
///
/// # Panics
/// When it does not.
#[must_use]
pub fn location(response: &Response) -> String {
    let found = response.header("location");
    found
        .unwrap_or_else(|| panic!("no redirect: {response:?}"))
        .to_owned()
}
