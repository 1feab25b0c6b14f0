//! The gate's own door for its operator: metrics and status over HTTP on a Unix socket that only the gate's user and root
//! can open. Never in a sandbox, and never changes anything.
//!
//! ```text
//! curl --unix-socket STATE/admin.sock http://gate/metrics      http://gate/status
//! ```

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Weak,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use postern_daemon::{
    Shutdown,
    serve::{Limits, Listener, serve},
};
use serde_json::json;
use tokio::net::UnixListener;

use crate::{gate::Gate, metrics::Moment};

/// The socket in the gate's state directory.
const SOCKET: &str = "admin.sock";

/// Somebody scrapes, somebody looks: nobody needs more at once.
const LIMITS: Limits = Limits {
    connections_max: 16,
    head: Duration::from_secs(10),
    unread: Duration::from_secs(10),
    drain: Duration::from_millis(200),
};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The door, bound and not served yet.
pub(crate) struct Door(UnixListener, Name);

/// The socket's name, which goes with the gate: a supervisor that was killed meanwhile removes it no more.
struct Name(PathBuf);

impl Drop for Name {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

impl Door {
    /// Binds the socket, in the place of one that an earlier gate left.
    pub(crate) fn bind(state: &Path) -> io::Result<Self> {
        let path = state.join(SOCKET);
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        match fs::symlink_metadata(&path) {
            // The audit's lock says that no other gate lives here.
            Ok(old) if old.file_type().is_socket() => fs::remove_file(&path).map_err(named)?,
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(named)?;
        let name = Name(path.clone());
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(named)?;
        Ok(Self(listener, name))
    }

    /// Serves until the task is ended. A connection that is kept open does not keep the gate.
    pub(crate) async fn serve(self, gate: Weak<Gate>) {
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/status", get(status))
            .with_state(gate);
        let Self(listener, _name) = self;
        serve(Listener::Unix(listener), router, LIMITS, Shutdown::manual()).await;
    }
}

/// Every number of the gate's, in the text format of OpenMetrics.
pub(crate) fn numbers(gate: &Gate) -> Result<String, std::fmt::Error> {
    let now = gate.condition();
    gate.audit.metrics().text(&Moment {
        generation: now.policy_generation,
        config_failures: now.config_failures,
        config_trouble: !now.config_troubles.is_empty(),
        secrets: gate.fetched.health(),
        audit_line: gate.audit.head().0,
        audit_trouble: gate.audit.trouble().is_some(),
    })
}

async fn metrics(State(gate): State<Weak<Gate>>) -> Response {
    let Some(gate) = gate.upgrade() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    match numbers(&gate) {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn status(State(gate): State<Weak<Gate>>) -> Response {
    let Some(gate) = gate.upgrade() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let (line, hash) = gate.audit.head();
    let now = gate.condition();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "policy_generation": now.policy_generation,
        "troubles": now.troubles,
        "config_troubles": now.config_troubles,
        "weakened": now.weakened,
        "audit_mode": now.audit_mode,
        "secrets": gate.fetched.health().iter().map(|secret| json!({
            "name": secret.name,
            "age_seconds": secret.age.map(|age| age.as_secs()),
            "failures": secret.failures,
        })).collect::<Vec<_>>(),
        "audit": { "line": line, "hash": hash },
    }))
    .into_response()
}
