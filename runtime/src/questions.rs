//! What agents ask humans by themselves while their runs go on: put to the gate, and waited for. Never says yes itself, and never
//! leaves a question behind that nobody waits for any more.

use std::time::Duration;

use postern_contract::{
    ActionId,
    approval::{Approval, Question, Status, Unanswered},
    link::News,
};
use postern_daemon::Clock;
use tokio::sync::broadcast;

use crate::link::{Link, LinkError};

/// Answers that whoever waits may be behind with; then it looks for itself.
const ANSWERED_MAX: usize = 64;

/// How often whoever waits looks for itself: answers are heard of at once, so this is for the end of the time.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Where questions are asked. Clones share it.
#[derive(Debug, Clone)]
pub struct Questions {
    link: Link,
    clock: Clock,
    answered: broadcast::Sender<ActionId>,
}

/// A question that somebody waits for; the gate is told when nobody does any more.
struct Open {
    link: Link,
    action: Option<ActionId>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let (Some(action), link) = (self.action.take(), self.link.clone()) else {
            return;
        };
        tokio::spawn(async move {
            let withdrawn = News::Withdrawn { action };
            if let Err(error) = link.tell(withdrawn, Vec::new()).await {
                tracing::warn!(%error, "the gate was not told that nobody waits for an answer");
            }
        });
    }
}

impl Questions {
    /// Asks through this link.
    #[must_use]
    pub fn new(link: Link, clock: Clock) -> Self {
        Self {
            link,
            clock,
            answered: broadcast::Sender::new(ANSWERED_MAX),
        }
    }

    /// Has a human asked, and waits: what comes back is answered, or has expired. Dropped before, the question is withdrawn.
    ///
    /// # Errors
    /// The gate refused (`LinkError::Refused`: nobody can be asked, or too much is asked already), or cannot be reached.
    pub async fn ask(&self, question: Question) -> Result<Approval, LinkError> {
        let action = question.action.clone();
        let mut answered = self.answered.subscribe();
        let mut open = Open {
            link: self.link.clone(),
            action: Some(action.clone()),
        };
        let mut asked = self.link.asked(question).await?;
        while asked.status == Status::Pending {
            tokio::select! {
                heard = answered.recv() => {
                    if heard.is_ok_and(|heard| heard != action) {
                        continue;
                    }
                }
                () = self.clock.after(LOOK_EVERY) => {}
            }
            match self.link.approval(action.clone(), None).await? {
                Ok((approval, _)) => asked = *approval,
                Err(Unanswered::Unknown) => return Err(LinkError::Odd("has forgotten a question")),
                Err(_) => {}
            }
        }
        open.action = None;
        Ok(asked)
    }

    /// Somebody has answered this one.
    pub(crate) fn answered(&self, action: &ActionId) {
        // Nobody may be waiting.
        drop(self.answered.send(action.clone()));
    }
}
