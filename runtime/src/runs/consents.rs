//! Runs that wait for their end user's consent, and how they go on: by themselves once the gate has it, or by whoever asks for it.
//! Never on a caller's word, and never asks the gate while nothing waits.

use std::time::Duration;

use postern_contract::{ActionId, consent::Consented};
use postern_invoke::Failure;
use postern_store::runs::{Run, RunStatus};

use super::{
    Callee, RunDesk,
    pauses::{self, ResumeError, Resumed},
};
use crate::app::App;

/// How often the gate is asked whether somebody has consented, while runs wait for that.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How often all that wait are looked at whatever the gate says.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Goes on with runs whose users have consented, for as long as runs may begin.
pub(crate) async fn keep(app: App) {
    tokio::join!(app.desk.keep_released(), keep_paused(&app));
}

async fn keep_paused(app: &App) {
    loop {
        // Asked before the look: who consents meanwhile is found the next time.
        let given = given(app).await;
        let waiting = pauses::look(app, RunStatus::PausedConsent).await;
        let news = app.desk.consents.notified();
        tokio::select! {
            () = changed(app, given), if waiting > 0 => {}
            () = app.desk.clock().after(LOOK_EVERY) => {}
            () = news => {}
            () = app.desk.closed() => return,
        }
    }
}

/// Returns when the gate has one more consent, or is another gate.
async fn changed(app: &App, before: Option<u64>) {
    loop {
        app.desk.clock().after(ASK_EVERY).await;
        let now = given(app).await;
        if now.is_some() && now != before {
            return;
        }
    }
}

/// How many consents the gate has been given; nothing while it is away.
async fn given(app: &App) -> Option<u64> {
    let status = app.desk.link.status().await;
    status.ok().map(|status| status.consents_given)
}

impl RunDesk {
    /// Goes on with a run if its end user has consented; otherwise says what became of it.
    pub(super) async fn resume_consented(
        &self,
        callee: Option<&Callee>,
        action: &ActionId,
        (run, tries): (Run, u32),
    ) -> Result<Resumed, ResumeError> {
        match (self.link.consent(action.clone()).await?, callee) {
            (Consented::Given, Some(callee)) => {
                self.go_on(callee, (action.clone(), run, None)).await
            }
            (Consented::Given, None) | (Consented::Pending, _) => Ok(Resumed::Unconsented),
            (Consented::Expired | Consented::Unknown, _) if tries > 0 => {
                self.give_up(action, &run).await
            }
            (Consented::Expired | Consented::Unknown, _) => {
                self.fail(action, Failure::NotConsented, None).await
            }
        }
    }
}
