//! One question to a token endpoint, from the values to the token. Where the answer gives a successor to the secret that it was
//! asked with, that is kept before the token is used. Never asks twice at once with a secret that rotates.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Method, Request};
use postern_contract::{
    ActionId, Secret, SecretName,
    consent::{Granted, Wanted},
};
use postern_daemon::{Clock, files};
use postern_store::gate::{Gate as Store, GateError};
use tokio::time::timeout;

use super::{
    ANSWER_BYTES_MAX, ANSWER_MAX, NoToken,
    answer::{self, Minted},
    authorization_code::AuthorizationCode,
    grant::{Ask, Grant, Material},
    seal::{Origin, Seal},
    user::{self, Owner},
};
use crate::{
    body,
    book::Book,
    dial::{Cut, Dialer, Errand, whole},
};

/// How much randomness is in a name that nothing else has, in bytes.
const UNIQUE_BYTES: usize = 16;

/// Everything that one question needs.
pub(super) struct Flight<'a> {
    pub(super) dialer: &'a Dialer,
    pub(super) chains: &'a Chains,
    pub(super) book: &'a Book,
    pub(super) grant: &'a dyn Grant,
    pub(super) clock: &'a Clock,
    /// Whose token it is, where each end user has one of their own.
    pub(super) owner: Option<&'a Owner>,
    /// Whether its values are still those of the book in force.
    pub(super) stands: &'a (dyn Fn() -> bool + Sync),
}

impl Flight<'_> {
    /// Asks.
    pub(super) async fn fly(&self) -> Result<Minted, NoToken> {
        if let Some(consent) = self.grant.consent() {
            let owner = self.owner.ok_or(NoToken::NoUser)?;
            return self.fly_for((consent, owner)).await;
        }
        let Some(name) = self.grant.rotates() else {
            return self.ask(None).await;
        };
        let chain = self.chains.of(self.origin(name)?);
        let mut chain = chain.lock().await;
        self.chains.ready(&mut chain).await?;
        let mut minted = self.ask(chain.successor.as_ref()).await?;
        if let Some(successor) = minted.successor.take() {
            chain.successor = Some(successor);
            chain.is_kept = false;
            self.chains.keep(&mut chain).await?;
        }
        Ok(minted)
    }

    /// What a secret that rotates is kept under: its first value, and who it is for.
    fn origin(&self, name: &SecretName) -> Result<Origin, NoToken> {
        let first = self.book.secrets.get(name).ok_or(NoToken::NoSecret)?;
        let url = self.grant.endpoint().url.to_string();
        Ok(self.chains.seal.origin(&[url.as_bytes(), first.expose()]))
    }

    pub(super) async fn ask(&self, successor: Option<&Secret>) -> Result<Minted, NoToken> {
        let now_s = self.clock.unix_ms() / 1000;
        let body = self.put(|material| self.grant.ask(material), successor);
        self.grant.read(&body.await?, now_s)
    }

    /// The body of the answer to a question that is made of what the gate has.
    pub(super) async fn put(
        &self,
        question: impl FnOnce(&Material<'_>) -> Result<Ask, NoToken>,
        successor: Option<&Secret>,
    ) -> Result<Bytes, NoToken> {
        // It may have waited for its turn, or for the database.
        if !(self.stands)() {
            return Err(NoToken::Withdrawn);
        }
        let request = {
            let material = Material {
                secrets: &|name| self.book.secrets.get(name).map(Arc::as_ref),
                successor,
                now_s: self.clock.unix_ms() / 1000,
                unique: files::random_hex(UNIQUE_BYTES).map_err(|_| NoToken::Going)?,
            };
            self.request(question(&material)?)?
        };
        let answered = timeout(ANSWER_MAX, self.answer(request)).await;
        answered.map_err(|_| NoToken::Late)?
    }

    fn errand(&self) -> Errand<'_> {
        let endpoint = self.grant.endpoint();
        Errand {
            authority: endpoint.url.authority(),
            private: endpoint.private,
            roots: endpoint.roots.as_ref(),
            proxy: self.book.proxy.as_ref(),
        }
    }

    fn request(&self, ask: Ask) -> Result<Request<body::Body>, NoToken> {
        let mut target = self.grant.endpoint().url.target();
        if !ask.beneath.is_empty() {
            target.truncate(target.trim_end_matches('/').len());
            target.push_str(&ask.beneath);
        }
        let errand = self.errand();
        let request = errand.request((Method::POST, &target), &ask.body);
        let mut request = request.map_err(|_| NoToken::Unfit)?;
        let fields = request.headers_mut();
        for (name, value) in ask.fields {
            if let Some(name) = name {
                fields.insert(name, value);
            }
        }
        Ok(request)
    }

    /// The body of an answer that says yes.
    async fn answer(&self, request: Request<body::Body>) -> Result<Bytes, NoToken> {
        let answer = self.dialer.run(&self.errand(), request).await;
        let (head, body) = answer
            .map_err(|error| NoToken::Unreached(Arc::new(error)))?
            .into_parts();
        answer::head(head.status, &head.headers)?;
        let body = whole(body, ANSWER_BYTES_MAX).await;
        let body = body.map_err(|cut| match cut {
            Cut::TooLarge => NoToken::TooLarge,
            Cut::Broken => NoToken::Broken,
        })?;
        if head.status.is_success() {
            return Ok(body);
        }
        Err(answer::refusal(head.status, &body))
    }
}

/// What has become of one secret that rotates. Whoever holds it asks.
pub(super) struct Chain {
    origin: Origin,
    pub(super) successor: Option<Secret>,
    /// Whether the database was looked into.
    is_read: bool,
    /// Whether the successor is in the database.
    pub(super) is_kept: bool,
    /// Whether a user's token was given out as it is kept.
    pub(super) is_handed_out: bool,
}

/// What has become of all of them.
pub(super) struct Chains {
    by_origin: Mutex<BTreeMap<Origin, Arc<tokio::sync::Mutex<Chain>>>>,
    store: Store,
    seal: Seal,
    clock: Clock,
}

impl Chains {
    pub(super) fn new(store: Store, seal: Seal, clock: Clock) -> Self {
        Self {
            by_origin: Mutex::default(),
            store,
            seal,
            clock,
        }
    }

    pub(super) fn of(&self, origin: Origin) -> Arc<tokio::sync::Mutex<Chain>> {
        let mut all = self
            .by_origin
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let chain = all.entry(origin).or_insert_with(|| {
            Arc::new(tokio::sync::Mutex::new(Chain {
                origin,
                successor: None,
                is_read: false,
                is_kept: true,
                is_handed_out: false,
            }))
        });
        Arc::clone(chain)
    }

    /// The one of an end user.
    pub(super) fn of_user(
        &self,
        grant: &AuthorizationCode,
        owner: &Owner,
    ) -> Arc<tokio::sync::Mutex<Chain>> {
        self.of(user::origin(&self.seal, grant, owner))
    }

    /// Writes down what an end user has consented to.
    pub(super) async fn note(&self, chain: &Chain, granted: &Granted) -> Result<(), NoToken> {
        let noted = self.store.keep_granted(&chain.origin, granted).await;
        noted.map_err(|error| {
            tracing::error!(%error, "what an end user has consented to could not be kept");
            NoToken::Unkept
        })
    }

    /// What end users have consented to.
    pub(super) async fn granted(&self, wanted: &Wanted) -> Result<Vec<Granted>, GateError> {
        self.store.all_granted(wanted, self.clock.unix_ms()).await
    }

    /// One of these, and where all that it gave is kept.
    pub(super) async fn origins(
        &self,
        id: &ActionId,
    ) -> Result<Option<(Granted, Vec<Origin>)>, GateError> {
        let found = self.store.granted_with_origins(id).await?;
        Ok(found.map(|(granted, origins)| {
            let origins = origins.into_iter();
            let origins = origins.filter_map(|origin| Origin::try_from(origin).ok());
            (granted, origins.collect())
        }))
    }

    /// Forgets one that is worth nothing any more, in the database too.
    pub(super) async fn drop(&self, chain: &mut Chain) -> Result<(), NoToken> {
        let dropped = self.store.drop_token(&chain.origin).await;
        dropped.map_err(|error| {
            tracing::error!(%error, "a token that is worth nothing could not be forgotten");
            NoToken::Unkept
        })?;
        chain.successor = None;
        chain.is_kept = true;
        Ok(())
    }

    /// Forgets what is in the database and in nobody's hands; it is read again when it is wanted.
    pub(super) fn forget_what_is_kept(&self) {
        let mut all = self
            .by_origin
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, chain| {
            let is_idle = Arc::strong_count(chain) == 1;
            !(is_idle && chain.try_lock().is_ok_and(|chain| chain.is_kept))
        });
    }

    /// Reads what was kept by an earlier gate, and keeps what could not be kept before.
    pub(super) async fn ready(&self, chain: &mut Chain) -> Result<(), NoToken> {
        if !chain.is_kept {
            return self.keep(chain).await;
        }
        if chain.is_read {
            return Ok(());
        }
        let sealed = self.store.kept_token(&chain.origin).await;
        let sealed = sealed.map_err(|error| {
            tracing::error!(%error, "what a refresh token has become could not be read");
            NoToken::Unkept
        })?;
        if let Some(sealed) = sealed {
            match self.seal.reveal(&chain.origin, &sealed) {
                Ok(successor) => chain.successor = Some(successor),
                // Its name was made with the same key, so it was changed since; the first value may still do.
                Err(error) => tracing::error!(%error, "what a refresh token has become is lost"),
            }
        }
        chain.is_read = true;
        Ok(())
    }

    pub(super) async fn keep(&self, chain: &mut Chain) -> Result<(), NoToken> {
        let Some(successor) = &chain.successor else {
            return Ok(());
        };
        let sealed = self.seal.close(&chain.origin, successor);
        let sealed = sealed.map_err(|_| NoToken::Unkept)?;
        let kept = self
            .store
            .keep_token(&chain.origin, &sealed, self.clock.unix_ms());
        kept.await.map_err(|error| {
            tracing::error!(%error, "what a refresh token has become could not be kept");
            NoToken::Unkept
        })?;
        chain.is_kept = true;
        chain.is_read = true;
        Ok(())
    }
}
