//! The launcher's connection of one sandbox: one task owns it, numbers the verbs and hands the answers out. Never keeps
//! a sandbox alive that nobody holds.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use postern_contract::launch::{Ask, Outcome, Said, Verb};
use postern_daemon::channel::{Channel, ChannelError};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{Exit, SandboxError, slots::Slot};

/// Verbs that wait to be sent; more wait at the sender.
const QUEUED_MAX: usize = 32;

/// What came of a verb, a descriptor if one came along, and the process's end if one was started.
pub(super) type Done = (Outcome, Option<OwnedFd>, oneshot::Receiver<Exit>);

type Answer = Result<(Outcome, Option<OwnedFd>), SandboxError>;

struct Order {
    verb: Verb,
    fds: Vec<OwnedFd>,
    pending: Pending,
}

struct Pending {
    answer: oneshot::Sender<Answer>,
    exited: oneshot::Sender<Exit>,
}

/// A handle to the task.
#[derive(Debug)]
pub(super) struct Connection {
    orders: mpsc::Sender<Order>,
    ended: watch::Receiver<bool>,
    ender: Ender,
}

/// Ends a sandbox that somebody else holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ender(Arc<Notify>);

impl Ender {
    /// The sandbox ends as if its launcher had.
    pub(crate) fn end(&self) {
        self.0.notify_one();
    }

    /// Returns when it is to end.
    pub(crate) async fn asked(&self) {
        self.0.notified().await;
    }
}

impl Connection {
    pub(super) fn open(channel: Channel, slot: Slot) -> Self {
        let (orders, queue) = mpsc::channel(QUEUED_MAX);
        let (ending, ended) = watch::channel(false);
        let ender = Ender::default();
        let owner = Owner {
            channel,
            seq: 0,
            pending: BTreeMap::new(),
            processes: BTreeMap::new(),
        };
        let asked = ender.clone();
        tokio::spawn(async move {
            // Where somebody ends it, whatever the owner waits for then, be it the launcher that does not read.
            tokio::select! {
                () = owner.run(queue) => {}
                () = asked.asked() => {}
            }
            drop(slot);
            ending.send_replace(true);
        });
        Self {
            orders,
            ended,
            ender,
        }
    }

    pub(super) fn ender(&self) -> Ender {
        self.ender.clone()
    }

    pub(super) async fn ask(&self, verb: Verb, fds: Vec<OwnedFd>) -> Result<Done, SandboxError> {
        let (answer, answered) = oneshot::channel();
        let (exiting, exited) = oneshot::channel();
        let order = Order {
            verb,
            fds,
            pending: Pending {
                answer,
                exited: exiting,
            },
        };
        self.orders
            .send(order)
            .await
            .map_err(|_| SandboxError::Ended)?;
        let (outcome, descriptor) = answered.await.map_err(|_| SandboxError::Ended)??;
        Ok((outcome, descriptor, exited))
    }

    pub(super) async fn ended(&self) {
        // The sender is gone only together with the task, which is the same end.
        drop(self.ended.clone().wait_for(|ended| *ended).await);
    }
}

struct Owner {
    channel: Channel,
    seq: u64,
    pending: BTreeMap<u64, Pending>,
    processes: BTreeMap<u32, oneshot::Sender<Exit>>,
}

impl Owner {
    /// Returns when nobody holds the sandbox any more, or the launcher is gone; the channel closes with it.
    async fn run(mut self, mut queue: mpsc::Receiver<Order>) {
        loop {
            let going = tokio::select! {
                order = queue.recv() => match order {
                    Some(order) => self.send(order).await,
                    None => return,
                },
                said = self.channel.receive::<Said>() => self.heard(said),
            };
            if let Err(error) = going {
                tracing::debug!(%error, "a sandbox's connection ended");
                return;
            }
        }
    }

    async fn send(&mut self, order: Order) -> Result<(), ChannelError> {
        self.seq += 1;
        let ask = Ask {
            seq: self.seq,
            verb: order.verb,
        };
        let fds: Vec<_> = order.fds.iter().map(AsFd::as_fd).collect();
        match self.channel.send(&ask, &fds).await {
            Ok(()) => {
                self.pending.insert(self.seq, order.pending);
                Ok(())
            }
            Err(error @ ChannelError::Socket(_)) => Err(error),
            Err(error) => {
                drop(order.pending.answer.send(Err(error.into())));
                Ok(())
            }
        }
    }

    fn heard(
        &mut self,
        said: Result<Option<(Said, Vec<OwnedFd>)>, ChannelError>,
    ) -> Result<(), ChannelError> {
        let gone = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let (said, mut fds) = said?.ok_or_else(gone)?;
        match said {
            Said::Done { re, outcome } => self.done(re, outcome, fds.pop()),
            Said::Failed { re, obstacle } => {
                if let Some(pending) = self.pending.remove(&re) {
                    drop(pending.answer.send(Err(obstacle.into())));
                }
            }
            Said::Exited {
                process,
                status,
                hits,
            } => {
                if let Some(exited) = self.processes.remove(&process) {
                    let _ = exited.send(Exit { status, hits });
                }
            }
            Said::Built { .. } | Said::Refused(_) => {
                tracing::warn!("the launcher spoke of building twice");
            }
        }
        Ok(())
    }

    fn done(&mut self, re: u64, outcome: Outcome, descriptor: Option<OwnedFd>) {
        let Some(pending) = self.pending.remove(&re) else {
            return;
        };
        if let Outcome::Started { process } = outcome {
            self.processes.insert(process, pending.exited);
        }
        drop(pending.answer.send(Ok((outcome, descriptor))));
    }
}
