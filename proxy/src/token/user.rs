//! The token of one end user of one agent for one tool, as it is kept: sealed, with what it is renewed by. Never given to anybody
//! else, and never used before what it is renewed by is kept.

use bytes::Bytes;
use postern_contract::{ActionId, AgentName, Secret, ToolName, consent::Granted};
use zeroize::Zeroizing;

use super::{
    NoToken,
    answer::{self, Minted},
    authorization_code::{AuthorizationCode, Coming},
    flight::{Chain, Flight},
    seal::{Origin, Seal},
};

/// What their names are made with; another one where something else goes in.
const VERSION: &[u8] = b"postern user token 1";

/// The shortest rest of a token's life with which it is handed out as it was kept, in milliseconds.
const FRESH_MS: i64 = 60_000;

/// Whose token it is, and for what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) tool: ToolName,
    pub(crate) agent: AgentName,
    pub(crate) user: String,
}

/// What a consent came to: the answer that holds who logged in, where it says so.
pub(crate) struct Redeemed {
    pub(super) token: UserToken,
    pub(crate) answer: Bytes,
}

/// A token with what it is renewed by.
pub(super) struct UserToken {
    access: Secret,
    /// When it ends, in milliseconds since 1970 (UTC).
    until_ms: i64,
    refresh: Option<Secret>,
}

impl UserToken {
    fn of(minted: Minted, before: Option<Secret>, now_ms: i64) -> Self {
        let life = i64::try_from(minted.life.as_millis()).unwrap_or(0);
        Self {
            access: minted.token,
            until_ms: now_ms.saturating_add(life),
            refresh: minted.successor.or(before),
        }
    }

    /// As it is kept, before it is sealed: tokens have no line breaks.
    pub(super) fn written(&self) -> Secret {
        let until = self.until_ms.to_string();
        let refresh = self.refresh.as_ref().map_or(&b""[..], Secret::expose);
        let parts = [until.as_bytes(), self.access.expose(), refresh];
        Secret::new(parts.join(&b'\n'))
    }

    fn read(kept: &Secret) -> Option<Self> {
        let mut parts = kept.expose().split(|byte| *byte == b'\n');
        let until_ms = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
        let access = Secret::new(parts.next()?.to_vec());
        let refresh = parts.next().filter(|refresh| !refresh.is_empty());
        let refresh = refresh.map(|refresh| Secret::new(refresh.to_vec()));
        Some(Self {
            access,
            until_ms,
            refresh,
        })
    }

    /// The token for calls, for as long as it still lives.
    fn minted(&self, now_ms: i64) -> Result<Minted, NoToken> {
        let left = u64::try_from(self.until_ms.saturating_sub(now_ms)).unwrap_or(0);
        if left == 0 {
            return Err(NoToken::NoConsent);
        }
        Ok(Minted {
            token: self.access.duplicate(),
            life: std::time::Duration::from_millis(left),
            successor: None,
        })
    }
}

/// What it is kept under.
pub(super) fn origin(seal: &Seal, grant: &AuthorizationCode, owner: &Owner) -> Origin {
    let stable = grant.stable();
    let mut parts = vec![VERSION];
    parts.extend(stable.iter().map(Vec::as_slice));
    parts.extend([
        owner.tool.as_str().as_bytes(),
        owner.agent.as_str().as_bytes(),
        owner.user.as_bytes(),
    ]);
    seal.origin(&parts)
}

impl Flight<'_> {
    /// A token of this user: the kept one while it is fresh and was not handed out before, else one by the refresh token.
    pub(super) async fn fly_for(
        &self,
        (grant, owner): (&AuthorizationCode, &Owner),
    ) -> Result<Minted, NoToken> {
        let chain = self.chains.of_user(grant, owner);
        let mut chain = chain.lock().await;
        self.chains.ready(&mut chain).await?;
        let kept = chain.successor.as_ref().and_then(UserToken::read);
        let mut kept = kept.ok_or(NoToken::NoConsent)?;
        let now_ms = self.clock.unix_ms();
        let is_fresh = !chain.is_handed_out && kept.until_ms.saturating_sub(now_ms) > FRESH_MS;
        let Some(refresh) = kept.refresh.take().filter(|_| !is_fresh) else {
            chain.is_handed_out = true;
            return kept.minted(now_ms);
        };
        let minted = match self.ask(Some(&refresh)).await {
            // The provider does not know it any more, or they took their consent back.
            Err(NoToken::Refused {
                word: Some("invalid_grant"),
                ..
            }) => {
                self.chains.drop(&mut chain).await?;
                return Err(NoToken::NoConsent);
            }
            minted => minted?,
        };
        let next = UserToken::of(minted, Some(refresh), self.clock.unix_ms());
        self.keep(&mut chain, &next).await?;
        chain.is_handed_out = true;
        next.minted(self.clock.unix_ms())
    }

    async fn keep(&self, chain: &mut Chain, token: &UserToken) -> Result<(), NoToken> {
        chain.successor = Some(token.written());
        chain.is_kept = false;
        self.chains.keep(chain).await
    }

    /// The token that a code is worth. Nothing is kept of it yet.
    pub(super) async fn redeem(
        &self,
        grant: &AuthorizationCode,
        coming: &Coming<'_>,
    ) -> Result<Redeemed, NoToken> {
        let answer = self
            .put(|material| grant.redeem(coming, material), None)
            .await?;
        let minted = answer::oauth(&answer)?;
        Ok(Redeemed {
            token: UserToken::of(minted, None, self.clock.unix_ms()),
            answer,
        })
    }

    /// Keeps what a user's consent gave, in the place of what was there before.
    pub(super) async fn keep_for(
        &self,
        (grant, owner, action): (&AuthorizationCode, &Owner, &ActionId),
        redeemed: &Redeemed,
    ) -> Result<(), NoToken> {
        let chain = self.chains.of_user(grant, owner);
        let mut chain = chain.lock().await;
        let token = &redeemed.token;
        let granted = Granted {
            id: action.clone(),
            agent: owner.agent.clone(),
            user: owner.user.clone(),
            tool: owner.tool.clone(),
            since_ms: self.clock.unix_ms(),
            expires_ms: token.refresh.is_none().then_some(token.until_ms),
        };
        // First: what is kept can be found, and taken back.
        self.chains.note(&chain, &granted).await?;
        self.keep(&mut chain, token).await?;
        chain.is_handed_out = false;
        Ok(())
    }
}

/// The claims of an ID token that came from its endpoint itself: its signature adds nothing there (OpenID Connect Core 3.1.3.7).
pub(crate) fn claims(answer: &[u8]) -> Option<serde_json::Map<String, serde_json::Value>> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    #[derive(serde::Deserialize)]
    struct Written {
        id_token: answer::Text,
    }
    let written: Written = serde_json::from_slice(answer).ok()?;
    let mut parts = written.id_token.expose().split(|byte| *byte == b'.');
    let (_head, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims).ok()?);
    serde_json::from_slice(&claims).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_whole() {
        let token = |refresh: Option<&str>| UserToken {
            access: Secret::new(b"a.b".to_vec()),
            until_ms: 7,
            refresh: refresh.map(|text| Secret::new(text.as_bytes().to_vec())),
        };
        let again = UserToken::read(&token(Some("r")).written()).unwrap();
        assert!(again.access.is(b"a.b") && again.refresh.unwrap().is(b"r"));
        assert_eq!(again.until_ms, 7);
        assert!(
            UserToken::read(&token(None).written())
                .unwrap()
                .refresh
                .is_none()
        );
        assert!(UserToken::read(&Secret::new(b"x".to_vec())).is_none());
        assert!(token(None).minted(6).is_ok() && token(None).minted(7).is_err());
    }
}
