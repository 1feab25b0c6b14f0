//! What is installed of an agent, and what an operator does about it: install what the config says now, or go back. Never stops
//! a sandbox: those that stand are shown what they were made with.

use axum::{
    Json,
    extract::{Path, State},
};
use bytes::Bytes;
use postern_daemon::clock::rfc3339;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Office;
use crate::{
    agents::{StartError, files::Files},
    api::Refused,
    app::Served,
    install::{Installer, Kept, Occasion, Standing},
};

/// What an install may be told.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    /// Fetch or unpack it even if it is there.
    #[serde(default)]
    renew: bool,
}

pub(super) async fn install(
    State(office): State<Office>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let (served, files) = with_files(&office, &name)?;
    let said = match body.is_empty() {
        true => Said::default(),
        false => serde_json::from_slice(&body)
            .map_err(|error| Refused::Query(format!("the body: {error}")))?,
    };
    let occasion = Occasion::Asked { renew: said.renew };
    let (around, agent) = (office.around.clone(), served.agent.clone());
    // Whoever asked may go: what was begun comes to its end.
    let work =
        tokio::spawn(async move { around.install(&agent, &files, occasion).await.map(drop) });
    done(&office, &served, work.await)
}

pub(super) async fn roll_back(
    State(office): State<Office>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refused> {
    let (served, files) = with_files(&office, &name)?;
    let (around, agent) = (office.around.clone(), served.agent.clone());
    let work = tokio::spawn(async move { around.roll_back(&agent, &files).await.map(drop) });
    done(&office, &served, work.await)
}

fn with_files(office: &Office, name: &str) -> Result<(Served, Files), Refused> {
    let served = office.app.served(Some(name)).ok_or(Refused::NotFound)?;
    let files = served.agent.kind.files();
    let files = files.ok_or_else(|| Refused::NoFiles(served.agent.name.clone()))?;
    Ok((served.clone(), files.clone()))
}

fn done(
    office: &Office,
    served: &Served,
    done: Result<Result<(), StartError>, tokio::task::JoinError>,
) -> Result<Json<Value>, Refused> {
    let name = &served.agent.name;
    match done {
        Ok(Ok(())) => Ok(Json(json!({
            "name": name,
            "installed": installed(&office.around.installer, served),
        }))),
        Ok(Err(error)) => {
            tracing::error!(agent = %name, "not installed: {error}");
            Err(Refused::NotInstalled(Box::new(error)))
        }
        Err(_) => Err(Refused::NoAnswer),
    }
}

/// What is live of an agent that has files, and the way back; null if it has none.
pub(super) fn installed(installer: &Installer, served: &Served) -> Value {
    let Some(standing) = installer.standing(&served.agent.name) else {
        return Value::Null;
    };
    let Standing {
        live,
        way_back,
        rolled_back,
    } = standing;
    let mut shown = shown(&live);
    shown["rolled_back"] = json!(rolled_back);
    shown["way_back"] = json!(way_back.as_ref().map(self::shown));
    shown
}

fn shown(kept: &Kept) -> Value {
    let note = kept.note.as_ref();
    json!({
        "version": kept.version.to_string(),
        "source": note.map(|note| &note.source),
        "resolved": note.and_then(|note| note.resolved.as_ref()),
        "installed_at": note.map(|note| rfc3339(note.installed_at_ms)),
        "stages": note.map(|note| &note.stages),
    })
}
