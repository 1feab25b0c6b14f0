//! How a source of secrets, or of public keys, is asked over the network: by the gate's own way out, which judges addresses and verifies TLS. Never by a way
//! that an agent could see or use.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use postern_contract::Secret;
use postern_daemon::Clock;
use postern_policy::Authority;

use super::{NoSecret, file};
use crate::dial::{Cut, Dialer, Errand, Proxy, Roots, Unreached, whole};

/// The way out, for sources.
pub(crate) struct Errands {
    dialer: Arc<Dialer>,
    proxy: ArcSwapOption<Proxy>,
    clock: Clock,
}

/// One question.
pub(crate) struct Question<'a> {
    pub(crate) authority: &'a Authority,
    /// The only authorities that are believed about it; absent means those of the system.
    pub(crate) roots: Option<&'a Roots>,
    pub(crate) method: Method,
    pub(crate) target: &'a str,
    pub(crate) fields: HeaderMap,
    pub(crate) body: &'a [u8],
    /// The longest answer that is read.
    pub(crate) answer_bytes_max: usize,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("it could not be reached ({0})")]
    Unreached(Box<Unreached>),
    #[error("it cannot be asked like this")]
    Unfit,
    #[error("it redirects, and secrets follow no redirect")]
    Redirected,
    #[error("its answer is larger than {} KiB", .0 >> 10)]
    TooLarge(usize),
    #[error("it broke off")]
    Broken,
}

impl Errands {
    /// Errands that this dialer runs.
    pub(crate) fn new(dialer: &Arc<Dialer>, clock: &Clock) -> Self {
        Self {
            dialer: Arc::clone(dialer),
            proxy: ArcSwapOption::empty(),
            clock: clock.clone(),
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// From here on they go by way of this proxy, if there is one.
    pub(crate) fn go_by(&self, proxy: Option<Proxy>) {
        self.proxy.store(proxy.map(Arc::new));
    }

    /// Asks once. The operator named the place, so its address may be a private one. Whoever asks limits the time.
    pub(crate) async fn ask(
        &self,
        question: Question<'_>,
    ) -> Result<(StatusCode, Bytes), Unanswered> {
        let proxy = self.proxy.load_full();
        let errand = Errand {
            authority: question.authority,
            private: true,
            roots: question.roots,
            proxy: proxy.as_deref(),
        };
        let asked = (question.method, question.target);
        let request = errand.request(asked, question.body);
        let mut request = request.map_err(|_| Unanswered::Unfit)?;
        request.headers_mut().extend(question.fields);
        let answer = self.dialer.run(&errand, request).await;
        let answer = answer.map_err(|error| Unanswered::Unreached(Box::new(error)))?;
        let (head, body) = answer.into_parts();
        if head.status.is_redirection() {
            return Err(Unanswered::Redirected);
        }
        let max = question.answer_bytes_max;
        let body = whole(body, max).await.map_err(|cut| match cut {
            Cut::TooLarge => Unanswered::TooLarge(max),
            Cut::Broken => Unanswered::Broken,
        })?;
        Ok((head.status, body))
    }
}

/// Does on a thread of its own what reads files.
pub(crate) async fn reading<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, NoSecret> + Send + 'static,
) -> Result<T, NoSecret> {
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| NoSecret::Going)?
}

/// What a file holds that is the gate's alone, read anew each time.
pub(super) async fn own(directory: &Path, file: &Path) -> Result<Secret, NoSecret> {
    let path = directory.join(file);
    reading(move || {
        let secret = file::read(&path, file::judge)?;
        match secret.expose() {
            [] => Err(NoSecret::Empty(path.display().to_string())),
            _ => Ok(secret),
        }
    })
    .await
}

/// The authorities of a file, read anew each time: who replaces it need not say so.
pub(crate) async fn roots(
    directory: &Path,
    file: Option<&Path>,
) -> Result<Option<Roots>, NoSecret> {
    let Some(file) = file else { return Ok(None) };
    let path = directory.join(file);
    reading(move || Ok(Some(Roots::read(&path)?))).await
}
