//! Whom a path addresses: the agent that it names, or the one that the root serves; and one run of that agent, for whoever
//! may see it. Never lets a name that cannot be read stand for no name.

use axum::{
    extract::{FromRequestParts, RawPathParams, rejection::RawPathParamsRejection},
    http::request::Parts,
};
use postern_contract::RunId;

use super::{Refused, caller};
use crate::{
    app::{App, Served},
    runs::Asker,
};

/// The agent that a call is about.
pub(super) struct Addressed(pub(super) Served);

/// A run that a call is about, and whoever asks about it.
pub(super) struct AddressedRun {
    served: Served,
    user: Option<String>,
    pub(super) run: RunId,
}

/// What a run was put aside for, as the path has it: it may be anything.
pub(super) struct AddressedPause {
    pub(super) served: Served,
    pub(super) action: String,
}

impl AddressedRun {
    /// Whoever asks.
    pub(super) fn asker(&self) -> Asker<'_> {
        self.served.asked_by(self.user.as_deref())
    }
}

impl FromRequestParts<App> for Addressed {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refused> {
        let name = parameter(parts, "name").await?;
        let served = app.served(name.as_deref()).ok_or(Refused::NotFound)?;
        Ok(Self(served.clone()))
    }
}

impl FromRequestParts<App> for AddressedRun {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refused> {
        let Addressed(served) = Addressed::from_request_parts(parts, app).await?;
        let id = parameter(parts, "id").await?.ok_or(Refused::NotFound)?;
        let run = id
            .parse()
            .map_err(|_| Refused::NoSuchRun(id.escape_default().take(80).collect()))?;
        let user = caller::end_user(app, &parts.headers)?;
        Ok(Self { served, user, run })
    }
}

impl FromRequestParts<App> for AddressedPause {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refused> {
        let Addressed(served) = Addressed::from_request_parts(parts, app).await?;
        let action = parameter(parts, "action").await?;
        let action = action.ok_or(Refused::NotFound)?;
        Ok(Self { served, action })
    }
}

/// A part of the path, if the route has one of this name.
pub(super) async fn parameter(parts: &mut Parts, wanted: &str) -> Result<Option<String>, Refused> {
    match RawPathParams::from_request_parts(parts, &()).await {
        Ok(all) => {
            let mut all = all.iter();
            let found = all.find(|(name, _)| *name == wanted);
            Ok(found.map(|(_, value)| value.to_owned()))
        }
        Err(RawPathParamsRejection::MissingPathParams(_)) => Ok(None),
        Err(_) => Err(Refused::NotFound),
    }
}
