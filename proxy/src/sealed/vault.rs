//! The tokens that agents asked for themselves: the real ones, of which agents know nothing but what stands for them. In memory alone,
//! so they end with the gate. Never gives one to another agent or another end user, and keeps no more than there is room for.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use postern_contract::{AgentName, Secret, ToolName, config::Stage, link::Dummy};

use super::shape;
use crate::{
    dummy::Known,
    identify::Caller,
    inject::Label,
    mask::{self, Scanner},
};

/// The most tokens of one end user of an agent, or of all that nobody tells apart; the oldest make room.
const TOKENS_PER_OWNER_MAX: usize = 64;

/// The most tokens of one agent.
const TOKENS_PER_AGENT_MAX: usize = 256;

/// What agents have, by their names.
#[derive(Default)]
pub(crate) struct Vaults(Mutex<BTreeMap<AgentName, Arc<Vault>>>);

/// What one agent has.
#[derive(Default)]
pub(crate) struct Vault(Mutex<Held>);

#[derive(Default)]
pub(super) struct Held {
    entries: VecDeque<Entry>,
    /// What is looked for because of them.
    known: Option<Arc<Known>>,
    is_changed: bool,
}

struct Entry {
    token: Arc<Token>,
    ends: Option<Instant>,
}

/// A token.
pub(crate) struct Token {
    /// Whose endpoint gave it.
    tool: ToolName,
    owner: Owner,
    kind: Kind,
    real: Secret,
    stand_in: Dummy,
    scanner: Option<Arc<Scanner>>,
    label: Label,
}

/// Who alone may use a token of an agent's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    stage: Option<Stage>,
    user: Option<String>,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To be shown to a tool.
    Access,
    /// To be shown to the endpoint that it came from.
    Refresh,
    /// To be shown to nobody.
    Id,
}

/// A token that was just given.
pub(super) struct Fresh<'a> {
    pub(super) tool: &'a ToolName,
    pub(super) owner: &'a Owner,
    pub(super) kind: Kind,
    pub(super) real: String,
    pub(super) ends: Option<Instant>,
}

impl Owner {
    /// The owner of what a caller asks for.
    pub(crate) fn of(caller: &Caller) -> Self {
        Self {
            stage: caller.origin.stage(),
            user: caller.believed_user().map(str::to_owned),
        }
    }
}

impl Token {
    /// Whose endpoint gave it.
    pub(crate) fn tool(&self) -> &ToolName {
        &self.tool
    }

    /// The token itself.
    pub(crate) fn real(&self) -> &Secret {
        &self.real
    }

    /// What answers to calls with it are looked through for.
    pub(crate) fn scanner(&self) -> Option<&Arc<Scanner>> {
        self.scanner.as_ref()
    }

    /// What calls with it are called.
    pub(crate) fn label(&self) -> &Label {
        &self.label
    }

    /// The end user whose alone it is, where it is one's.
    pub(crate) fn user(&self) -> Option<&str> {
        self.owner.user.as_deref()
    }

    /// Whether it is for asking for others.
    pub(super) fn is_refresh(&self) -> bool {
        self.kind == Kind::Refresh
    }

    /// What the agent has of it.
    pub(super) fn stand_in(&self) -> &str {
        &self.stand_in.text
    }
}

impl Vaults {
    /// What this agent has.
    pub(crate) fn of(&self, agent: &AgentName) -> Arc<Vault> {
        Arc::clone(self.lock().entry(agent.clone()).or_default())
    }

    /// Wipes what is over by now, and all that agents have who are gone.
    pub(crate) fn sweep(&self, now: Instant, is_there: impl Fn(&AgentName) -> bool) {
        self.lock().retain(|agent, vault| {
            let stays = is_there(agent);
            vault.change(now, |held| {
                if !stays {
                    held.retain(|_| false);
                }
            });
            stays
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgentName, Arc<Vault>>> {
        // A map that a panic interrupted is still a map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vault {
    /// What is looked for in all that leaves the agent's sandboxes.
    pub(crate) fn known(&self) -> Option<Arc<Known>> {
        self.lock().known.clone()
    }

    /// The token of this kind that a text stands for, if this owner has it still.
    pub(crate) fn find(
        &self,
        (owner, kind): (&Owner, Kind),
        text: &str,
        now: Instant,
    ) -> Option<Arc<Token>> {
        self.change(now, |held| {
            let found = held.entries.iter().find(|entry| {
                let token = &entry.token;
                token.kind == kind && token.owner == *owner && token.stand_in() == text
            });
            found.map(|entry| Arc::clone(&entry.token))
        })
    }

    /// Changes what is held, once what is over by now is wiped.
    pub(super) fn change<T>(&self, now: Instant, change: impl FnOnce(&mut Held) -> T) -> T {
        let mut held = self.lock();
        held.retain(|entry| !entry.is_over(now));
        let done = change(&mut held);
        held.settle();
        done
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // What a panic interrupted is looked for anew with the next change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_over(&self, now: Instant) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }
}

impl Held {
    /// Keeps a token, and says what stands for it: the same as before where it is the same.
    pub(super) fn keep(&mut self, fresh: Fresh<'_>) -> io::Result<Arc<Token>> {
        let shape = shape::like(&fresh.real);
        let real = Secret::new(fresh.real.into_bytes());
        let known = self.entries.iter_mut().find(|entry| {
            let token = &entry.token;
            let is_alike = token.kind == fresh.kind && token.tool == *fresh.tool;
            is_alike && token.owner == *fresh.owner && token.real.is(real.expose())
        });
        if let Some(entry) = known {
            entry.ends = fresh.ends;
            return Ok(Arc::clone(&entry.token));
        }
        self.make_room(fresh.owner);
        let mut failed = None;
        let (text, fixed) = shape.make(|| {
            let mut bytes = [0; 2];
            if let Err(error) = getrandom::fill(&mut bytes) {
                failed = Some(error);
            }
            u16::from_ne_bytes(bytes)
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        let token = Arc::new(Token {
            scanner: mask::scanner([&real]),
            label: Label::of_sealed(fresh.tool),
            tool: fresh.tool.clone(),
            owner: fresh.owner.clone(),
            kind: fresh.kind,
            real,
            stand_in: Dummy {
                tool: fresh.tool.clone(),
                text,
                fixed,
            },
        });
        self.entries.push_back(Entry {
            token: Arc::clone(&token),
            ends: fresh.ends,
        });
        self.is_changed = true;
        Ok(token)
    }

    /// Wipes a token that another one has followed.
    pub(super) fn drop_one(&mut self, token: &Arc<Token>) {
        self.retain(|entry| !Arc::ptr_eq(&entry.token, token));
    }

    fn retain(&mut self, stays: impl Fn(&Entry) -> bool) {
        let before = self.entries.len();
        self.entries.retain(stays);
        self.is_changed |= self.entries.len() < before;
    }

    fn make_room(&mut self, owner: &Owner) {
        let is_theirs = |entry: &Entry| entry.token.owner == *owner;
        let theirs = self.entries.iter().filter(|entry| is_theirs(entry)).count();
        if theirs >= TOKENS_PER_OWNER_MAX
            && let Some(oldest) = self.entries.iter().position(is_theirs)
        {
            self.entries.remove(oldest);
        } else if self.entries.len() >= TOKENS_PER_AGENT_MAX {
            self.entries.pop_front();
        }
    }

    fn settle(&mut self) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        let stand_ins = self.entries.iter();
        let stand_ins: Vec<_> = stand_ins
            .map(|entry| entry.token.stand_in.clone())
            .collect();
        self.known = (!stand_ins.is_empty())
            .then(|| Known::of(stand_ins))
            .and_then(|known| {
                known
                    .inspect_err(|why| tracing::error!(%why, "tokens cannot be looked for"))
                    .ok()
            })
            .map(Arc::new);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postern_daemon::Clock;

    use super::*;

    fn owner(user: &str) -> Owner {
        Owner {
            stage: None,
            user: Some(user.to_owned()),
        }
    }

    fn keep(vault: &Vault, user: &str, real: &str, ends: Option<Instant>) -> Arc<Token> {
        let now = Clock::system().now();
        vault.change(now, |held| kept(held, user, real, ends))
    }

    fn kept(held: &mut Held, user: &str, real: &str, ends: Option<Instant>) -> Arc<Token> {
        let (tool, owner) = ("idp".parse().unwrap(), owner(user));
        let fresh = Fresh {
            tool: &tool,
            owner: &owner,
            kind: Kind::Access,
            real: real.to_owned(),
            ends,
        };
        held.keep(fresh).unwrap()
    }

    fn finds(vault: &Vault, user: &str, token: &Token, now: Instant) -> bool {
        let whose = (&owner(user), Kind::Access);
        vault.find(whose, token.stand_in(), now).is_some()
    }

    #[test]
    fn a_token_is_its_owners_until_it_is_over() {
        let (vault, now) = (Vault::default(), Clock::system().now());
        let ends = now + Duration::from_secs(60);
        let token = keep(&vault, "ada", "real-token-0123456789", Some(ends));
        assert!(finds(&vault, "ada", &token, now));
        assert!(!finds(&vault, "eve", &token, now));
        assert!(!finds(&vault, "ada", &token, ends));
        let refresh = (&owner("ada"), Kind::Refresh);
        assert!(vault.find(refresh, token.stand_in(), now).is_none());
        vault.change(ends, |_| ());
        assert!(vault.lock().entries.is_empty() && vault.known().is_none());
    }

    #[test]
    fn the_same_token_has_the_same_stand_in_and_another_another() {
        let vault = Vault::default();
        let one = keep(&vault, "ada", "real-token-0123456789", None);
        let same = keep(&vault, "ada", "real-token-0123456789", None);
        let other = keep(&vault, "ada", "real-token-9876543210", None);
        let hers = keep(&vault, "eve", "real-token-0123456789", None);
        assert!(Arc::ptr_eq(&one, &same));
        assert_ne!(one.stand_in(), other.stand_in());
        assert_ne!(one.stand_in(), hers.stand_in());
        assert!(!one.stand_in().contains("0123456789"));
    }

    #[test]
    fn the_oldest_make_room_and_nobody_elses_unless_there_is_no_other() {
        let (vault, now) = (Vault::default(), Clock::system().now());
        let hers = keep(&vault, "eve", "real-token-of-eve-0123", None);
        let first = keep(&vault, "ada", "real-token-the-first-1", None);
        vault.change(now, |held| {
            for number in 0..TOKENS_PER_OWNER_MAX {
                kept(held, "ada", &format!("real-token-{number:020}"), None);
            }
        });
        assert!(!finds(&vault, "ada", &first, now) && finds(&vault, "eve", &hers, now));
        vault.change(now, |held| {
            for number in 0..TOKENS_PER_AGENT_MAX {
                kept(
                    held,
                    &format!("user-{number}"),
                    "real-token-0123456789",
                    None,
                );
            }
        });
        assert_eq!(vault.lock().entries.len(), TOKENS_PER_AGENT_MAX);
        assert!(!finds(&vault, "eve", &hers, now));
    }

    #[test]
    fn who_is_gone_has_nothing() {
        let (vaults, now) = (Vaults::default(), Clock::system().now());
        let agent: AgentName = "desk".parse().unwrap();
        let vault = vaults.of(&agent);
        let token = keep(&vault, "ada", "real-token-0123456789", None);
        vaults.sweep(now, |_| true);
        assert!(finds(&vault, "ada", &token, now));
        vaults.sweep(now, |_| false);
        assert!(!finds(&vault, "ada", &token, now));
    }
}
