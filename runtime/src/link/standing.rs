//! What stands as far as the gate was told: sandboxes with duplicates of their listeners, the runs in them, where this daemon
//! listens. From this the next gate is told everything again. Never tells anybody itself.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use postern_contract::{
    RunId, SandboxId,
    link::{ListenerKind, News},
};

use super::Letter;
use crate::sandbox::Ender;

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Standing {
    listening: Option<Vec<SocketAddr>>,
    rooms: BTreeMap<SandboxId, Room>,
}

/// A sandbox, or a listener of this daemon's own.
#[derive(Debug)]
struct Room {
    /// How it was told of.
    news: News,
    fds: Vec<OwnedFd>,
    end: Option<Ender>,
    /// The run that was there first, and its user: where a sandbox is one run's or one user's, it says whose.
    first: Option<(RunId, Option<String>)>,
    /// How its dummies were told of.
    dummies: Option<News>,
    active: BTreeMap<RunId, Option<String>>,
}

impl Standing {
    /// Takes in what the gate has taken, with what it gave back to be kept.
    pub(super) fn took(&mut self, letter: Letter, given: Option<OwnedFd>) {
        let Letter {
            mut news,
            mut fds,
            end,
            ..
        } = letter;
        match &mut news {
            News::SandboxStarted {
                sandbox, listeners, ..
            } => {
                listeners.extend(given.as_ref().map(|_| ListenerKind::Kept));
                fds.extend(given);
                let room = (sandbox.clone(), Room::of(news, fds, end));
                self.rooms.extend([room]);
            }
            News::RunStarted { sandbox, run, user } => {
                if let Some(room) = self.rooms.get_mut(sandbox) {
                    let of = (run.clone(), user.clone());
                    room.first.get_or_insert_with(|| of.clone());
                    room.active.extend([of]);
                }
            }
            News::Dummies { sandbox, .. } => {
                if let Some(room) = self.rooms.get_mut(sandbox) {
                    room.dummies = Some(news);
                }
            }
            News::Listening { addresses } => self.listening = Some(std::mem::take(addresses)),
            over => self.over(over),
        }
    }

    /// What is over is over at once, whether there is a gate to be told or not.
    pub(super) fn over(&mut self, news: &News) {
        match news {
            News::SandboxEnded { sandbox } => drop(self.rooms.remove(sandbox)),
            News::RunEnded { sandbox, run } => {
                if let Some(room) = self.rooms.get_mut(sandbox) {
                    room.active.remove(run);
                }
            }
            _ => {}
        }
    }

    /// What a gate must know before anything else.
    pub(super) fn listening(&self) -> Option<News> {
        let addresses = self.listening.clone()?;
        Some(News::Listening { addresses })
    }

    pub(super) fn sandboxes(&self) -> Vec<SandboxId> {
        self.rooms.keys().cloned().collect()
    }

    /// How to tell of a sandbox again.
    pub(super) fn told(&self, sandbox: &SandboxId) -> Option<(News, Vec<BorrowedFd<'_>>)> {
        let room = self.rooms.get(sandbox)?;
        Some((
            room.news.clone(),
            room.fds.iter().map(AsFd::as_fd).collect(),
        ))
    }

    /// How to tell of its dummies again.
    pub(super) fn dummies(&self, sandbox: &SandboxId) -> Option<News> {
        self.rooms.get(sandbox)?.dummies.clone()
    }

    /// How to tell of the runs of a sandbox again: whose it is first, then who is there.
    pub(super) fn runs(&self, sandbox: &SandboxId) -> Vec<News> {
        let Some(room) = self.rooms.get(sandbox) else {
            return Vec::new();
        };
        let started = |(run, user): (&RunId, &Option<String>)| News::RunStarted {
            sandbox: sandbox.clone(),
            run: run.clone(),
            user: user.clone(),
        };
        let mut news = Vec::new();
        if let Some((run, user)) = &room.first
            && !room.active.contains_key(run)
        {
            news.push(started((run, user)));
            news.push(News::RunEnded {
                sandbox: sandbox.clone(),
                run: run.clone(),
            });
        }
        news.extend(room.active.iter().map(started));
        news
    }

    /// Ends a sandbox that no gate takes; calls to a listener of this daemon's own are refused from now on.
    pub(super) fn give_up(&mut self, sandbox: &SandboxId) {
        if let Some(room) = self.rooms.remove(sandbox)
            && let Some(end) = room.end
        {
            end.end();
        }
    }

    /// Ends every sandbox: what was made for the last gate is not for the next. Listeners of this daemon's own stay.
    pub(super) fn turn_over(&mut self) {
        self.rooms.retain(|_, room| match &room.end {
            Some(end) => {
                end.end();
                false
            }
            None => true,
        });
    }
}

impl Room {
    fn of(news: News, fds: Vec<OwnedFd>, end: Option<Ender>) -> Self {
        Self {
            news,
            fds,
            end,
            first: None,
            dummies: None,
            active: BTreeMap::new(),
        }
    }
}
