//! One login at one Vault, shared by all secrets that are asked for with it: a client token in memory, renewed before its end.
//! Never logs in twice at once, and never uses a token after its end.
//!
//! ```text
//! (none) ─ token ─▶ logged in ─▶ (lease) ── two thirds of it are over ─▶ renewed ─┬─ for long ─▶ (lease)
//!                                  ▲                                            └─ for less than half, or not at all ─┐
//!                                  ├───────────────────────────────────────────────────────────────────────────────────┘
//! (lease) ── 403, and it is dead ──┘        (lease) ── its end ─▶ (none)
//! ```

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use postern_contract::Secret;
use postern_daemon::Clock;
use tokio::{
    sync::{MutexGuard, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    Account,
    api::{Granted, Step, Way, Why},
};
use crate::secret::{NoSecret, errands::Errands};

/// How long a renewal may take, with the login that may follow it.
const RENEWAL_MAX: Duration = Duration::from_secs(10);

/// The shortest wait before a renewal, and before the next one where it failed.
const REST: Duration = Duration::from_secs(1);

/// How long a living token that may not read something is kept all the same. A newer one may have a policy that was added to
/// its role since; one each time would leave Vault full of tokens.
const ANEW_AFTER: Duration = Duration::from_secs(3600);

/// How long a token is kept that came in place of a refused one, is refused too, and may not even look at itself: it cannot be
/// told whether it lives.
const AGAIN_AFTER: Duration = Duration::from_secs(600);

/// Every login that some secret needs.
#[derive(Clone, Default)]
pub(in crate::secret) struct Sessions(Arc<Mutex<Vec<Arc<Session>>>>);

/// One of them.
pub(super) struct Session {
    account: Account,
    directory: PathBuf,
    errands: Arc<Errands>,
    lease: tokio::sync::Mutex<Option<Lease>>,
    /// When the token is to be renewed, if ever.
    due: watch::Sender<Option<Instant>>,
    keeper: JoinHandle<()>,
}

/// A client token, and how long it is good.
struct Lease {
    token: Arc<Secret>,
    began: Instant,
    /// How long it was good for when it began; `None` without an end.
    life: Option<Duration>,
    ends: Option<Instant>,
    renewable: bool,
    /// Whether it came in place of one that Vault did not take, and was not taken itself.
    is_instead: bool,
}

impl Lease {
    fn is_over(&self, now: Instant) -> bool {
        self.ends.is_some_and(|ends| now >= ends)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Sessions {
    /// The session of an account, begun if there is none.
    pub(super) fn of(
        &self,
        account: &Account,
        directory: &Path,
        errands: &Arc<Errands>,
    ) -> Arc<Session> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sessions.iter().find(|session| session.account == *account);
        if let Some(known) = known {
            return Arc::clone(known);
        }
        let fresh = Session::new(account, directory, errands);
        sessions.push(Arc::clone(&fresh));
        fresh
    }

    /// Ends all sessions but those of these accounts.
    pub(in crate::secret) fn keep<'a>(&self, wanted: impl Iterator<Item = &'a Account>) {
        let wanted: Vec<_> = wanted.collect();
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|session| wanted.contains(&&session.account));
    }
}

impl Session {
    fn new(account: &Account, directory: &Path, errands: &Arc<Errands>) -> Arc<Self> {
        let (due, changed) = watch::channel(None);
        Arc::new_cyclic(|session| Self {
            account: account.clone(),
            directory: directory.to_owned(),
            errands: Arc::clone(errands),
            lease: tokio::sync::Mutex::default(),
            due,
            keeper: tokio::spawn(keep(Weak::clone(session), changed, errands.clock().clone())),
        })
    }

    /// How its Vault is asked.
    pub(super) fn way(&self) -> Way<'_> {
        Way {
            directory: &self.directory,
            errands: &self.errands,
        }
    }

    /// A token that is good now.
    pub(super) async fn token(&self) -> Result<Arc<Secret>, NoSecret> {
        let mut lease = self.lease.lock().await;
        let now = self.errands.clock().now();
        match &*lease {
            Some(held) if !held.is_over(now) => Ok(Arc::clone(&held.token)),
            _ => self.log_in(&mut lease).await,
        }
    }

    /// Another token than one that Vault did not take; `None` where that one lives and Vault means what it says.
    pub(super) async fn instead_of(
        &self,
        refused: &Arc<Secret>,
    ) -> Result<Option<Arc<Secret>>, NoSecret> {
        let mut lease = self.lease.lock().await;
        let now = self.errands.clock().now();
        if let Some(held) = &*lease {
            if !Arc::ptr_eq(&held.token, refused) {
                return Ok(Some(Arc::clone(&held.token)));
            }
            let age = now.duration_since(held.began);
            let is_new = held.is_instead && age < AGAIN_AFTER;
            if is_new || age < ANEW_AFTER && self.lives(&held.token).await? {
                return Ok(None);
            }
        }
        let token = self.log_in(&mut lease).await?;
        if let Some(held) = lease.as_mut() {
            held.is_instead = true;
        }
        Ok(Some(token))
    }

    /// Vault took this token, which came in place of another.
    pub(super) async fn took(&self, token: &Arc<Secret>) {
        let mut lease = self.lease.lock().await;
        if let Some(held) = lease
            .as_mut()
            .filter(|held| Arc::ptr_eq(&held.token, token))
        {
            held.is_instead = false;
        }
    }

    async fn lives(&self, token: &Secret) -> Result<bool, NoSecret> {
        match self.account.look_up(&self.way(), token).await {
            Err(refused) if refused.is_forbidden() => Ok(false),
            came => came.map(|_| true),
        }
    }

    async fn log_in(
        &self,
        lease: &mut MutexGuard<'_, Option<Lease>>,
    ) -> Result<Arc<Secret>, NoSecret> {
        // By the time before: a lease never looks longer than it is.
        let began = self.errands.clock().now();
        let Granted {
            token,
            life,
            renewable,
        } = self.account.log_in(&self.way()).await?;
        let token = Arc::new(token);
        **lease = Some(Lease {
            token: Arc::clone(&token),
            began,
            life,
            ends: life.map(|life| began + life),
            renewable,
            is_instead: false,
        });
        self.due.send_replace(life.map(|life| began + wait(life)));
        Ok(token)
    }

    /// More time for the token, or another token. Where neither can be had, the one that there is is used to its end.
    async fn renew(&self) {
        let mut lease = self.lease.lock().await;
        let now = self.errands.clock().now();
        let left = match &*lease {
            Some(held) if !held.is_over(now) => held.ends.map(|ends| ends - now),
            _ => None,
        };
        let Some(left) = left else {
            *lease = None;
            self.due.send_replace(None);
            return;
        };
        let renewed = timeout(RENEWAL_MAX, self.prolong(&mut lease, now)).await;
        let late = || self.account.failed(Step::Renew, Why::Late);
        if let Err(error) = renewed.unwrap_or_else(|_| Err(late())) {
            tracing::warn!(%error, left_s = left.as_secs(), "a login at Vault ends soon, and was not renewed");
            self.due.send_replace(Some(now + (left / 4).max(REST)));
        }
    }

    async fn prolong(
        &self,
        lease: &mut MutexGuard<'_, Option<Lease>>,
        now: Instant,
    ) -> Result<(), NoSecret> {
        if let Some(held) = lease.as_mut().filter(|held| held.renewable) {
            match self.account.renew(&self.way(), &held.token).await {
                Ok(more) => {
                    held.ends = more.map(|more| now + more);
                    // Near the longest life that a token may have, Vault gives less and less.
                    let whole = held.life.unwrap_or_default();
                    if more.is_none_or(|more| more * 2 >= whole) {
                        self.due.send_replace(more.map(|more| now + wait(more)));
                        return Ok(());
                    }
                }
                Err(error) if error.is_refusal() => {}
                Err(error) => return Err(error),
            }
        }
        self.log_in(lease).await.map(drop)
    }
}

/// How long after it began a lease is renewed.
fn wait(life: Duration) -> Duration {
    (life * 2 / 3).max(REST)
}

/// Renews a session's token whenever it is time, for as long as there is the session.
async fn keep(session: Weak<Session>, mut due: watch::Receiver<Option<Instant>>, clock: Clock) {
    loop {
        let at = *due.borrow_and_update();
        let come = async {
            match at {
                Some(at) => clock.after(at.saturating_duration_since(clock.now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = due.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            () = come => {}
        }
        let Some(session) = session.upgrade() else {
            return;
        };
        session.renew().await;
    }
}
