//! A sandbox for each end user, one run at a time, taken out of the pool when the user first comes. Never shows one user
//! what another left: a sandbox has one user as long as it stands.
//!
//! ```text
//! place ─┬▶ the user has one: wait for its turn ─▶ Lease ── drop ─▶ renewed ─▶ idle ─ `idle` later, or for another ─▶ gone
//!        ├▶ there is room, or somebody's is idle: out of the pool ─▶ Lease
//!        └▶ all are in use, or too many wait for this one: NoPlace
//! ```

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use postern_contract::SandboxId;
use postern_invoke::{Input, RunFacts};
use tokio::{
    runtime::Handle,
    sync::{Mutex as Turn, OwnedMutexGuard, mpsc, watch},
    task::AbortHandle,
};

use super::{Cell, Pool};
use crate::agents::{Call, Coming, NoPlace, Place, Readiness};

/// Runs of one user that wait or are under way.
const RUNS_PER_USER_MAX: usize = 8;

/// A user's sandbox, and who comes next; nothing until the first run is here.
type Turns<C> = Arc<Turn<Option<C>>>;

/// The users of one agent, and their sandboxes.
#[derive(Debug)]
pub struct Users<C> {
    pool: Pool<C>,
    book: Arc<Book<C>>,
}

#[derive(Debug)]
struct Book<C> {
    most: usize,
    idle: Duration,
    rooms: Mutex<Rooms<C>>,
}

#[derive(Debug)]
struct Rooms<C> {
    of: HashMap<String, Room<C>>,
    /// Counts uses, so that the one that was used longest ago is known.
    uses: u64,
}

#[derive(Debug)]
struct Room<C> {
    /// Whoever holds it has the sandbox; they come in the order in which they asked.
    turn: Turns<C>,
    /// Runs that wait or are under way.
    runs: usize,
    used: u64,
    /// Ends the sandbox when nobody comes.
    end: Option<AbortHandle>,
}

impl<C: Cell> Users<C> {
    /// Nobody yet; at most so many at once, each as long as it is not idle for longer.
    #[must_use]
    pub fn of(pool: Pool<C>, most: usize, idle: Duration) -> Self {
        let rooms = Rooms {
            of: HashMap::new(),
            uses: 0,
        };
        let book = Book {
            most,
            idle,
            rooms: Mutex::new(rooms),
        };
        Self {
            pool,
            book: Arc::new(book),
        }
    }

    /// Whether there is, or can be, any sandbox.
    #[must_use]
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.pool.readiness()
    }

    /// The place of a user's run.
    ///
    /// # Errors
    /// See [`NoPlace`].
    pub fn place(&self, facts: &RunFacts) -> Result<Coming, NoPlace> {
        let user = facts.user.clone().ok_or(NoPlace::NoUser)?;
        let (turn, seat) = self.book.enter(user)?;
        let pool = self.pool.clone();
        Ok(Box::pin(async move {
            let mut cell = turn.lock_owned().await;
            if cell.as_ref().is_none_or(Cell::has_ended) {
                // The dead one goes first, whatever comes of the next.
                *cell = None;
                *cell = Some(pool.take().await?);
            }
            let id = cell.as_ref().map(|cell| cell.sandbox().clone());
            let id = id.ok_or("its sandbox is gone")?;
            let lease = Lease {
                id,
                cell: Some(cell),
                _seat: seat,
            };
            Ok(Box::new(lease) as Box<dyn Place>)
        }))
    }
}

impl<C: Cell> Book<C> {
    fn rooms(&self) -> MutexGuard<'_, Rooms<C>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one more run of a user in; for a new user the one goes that nobody has used for longest.
    fn enter(self: &Arc<Self>, user: String) -> Result<(Turns<C>, Seat<C>), NoPlace> {
        let mut rooms = self.rooms();
        if !rooms.of.contains_key(&user) && rooms.of.len() >= self.most {
            let idle = rooms.of.iter().filter(|(_, room)| room.runs == 0);
            let oldest = idle.min_by_key(|(_, room)| room.used);
            let oldest = oldest.map(|(user, _)| user.clone());
            rooms.of.remove(&oldest.ok_or(NoPlace::AllBusy(self.most))?);
        }
        let room = rooms.of.entry(user.clone()).or_insert_with(|| Room {
            turn: Arc::new(Turn::new(None)),
            runs: 0,
            used: 0,
            end: None,
        });
        if room.runs >= RUNS_PER_USER_MAX {
            return Err(NoPlace::UserBusy(RUNS_PER_USER_MAX));
        }
        if let Some(end) = room.end.take() {
            end.abort();
        }
        room.runs += 1;
        let book = Arc::clone(self);
        Ok((Arc::clone(&room.turn), Seat { user, book }))
    }

    fn leave(self: &Arc<Self>, user: &str) {
        let mut rooms = self.rooms();
        rooms.uses += 1;
        let used = rooms.uses;
        let Some(room) = rooms.of.get_mut(user) else {
            return;
        };
        room.used = used;
        room.runs -= 1;
        if room.runs > 0 {
            return;
        }
        // Without a runtime the daemon is over, and its sandboxes with it.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (book, user) = (Arc::downgrade(self), user.to_owned());
        let idle = self.idle;
        let ending = runtime.spawn(async move {
            tokio::time::sleep(idle).await;
            if let Some(book) = book.upgrade() {
                book.end(&user, used);
            }
        });
        room.end = Some(ending.abort_handle());
    }

    /// Ends a sandbox that nobody has used since.
    fn end(&self, user: &str, used: u64) {
        let mut rooms = self.rooms();
        let is_idle = |room: &Room<C>| room.runs == 0 && room.used == used;
        if rooms.of.get(user).is_some_and(is_idle) {
            rooms.of.remove(user);
        }
    }
}

/// One run's entry in the book.
struct Seat<C: Cell> {
    user: String,
    book: Arc<Book<C>>,
}

impl<C: Cell> Drop for Seat<C> {
    fn drop(&mut self) {
        self.book.leave(&self.user);
    }
}

/// A user's sandbox for one run.
struct Lease<C: Cell> {
    id: SandboxId,
    /// Taken when it is dropped, and not before.
    cell: Option<OwnedMutexGuard<Option<C>>>,
    _seat: Seat<C>,
}

impl<C: Cell> Place for Lease<C> {
    fn sandbox(&self) -> &SandboxId {
        &self.id
    }

    fn carry_out(
        &self,
        call: Call,
        facts: &RunFacts,
        inputs: mpsc::Sender<Input>,
    ) -> BoxFuture<'static, ()> {
        match self.cell.as_ref().and_then(|cell| cell.as_ref()) {
            Some(cell) => cell.carry_out(call, facts, inputs),
            None => Box::pin(async move {
                let detail = "its sandbox is gone".to_owned();
                drop(inputs.send(Input::WorkerFailed { detail }).await);
            }),
        }
    }
}

impl<C: Cell> Drop for Lease<C> {
    fn drop(&mut self) {
        let Some(cell) = self.cell.take() else {
            return;
        };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(renew(cell));
        }
    }
}

/// Makes the sandbox good for the user's next run, which waits meanwhile; one that cannot be is ended.
async fn renew<C: Cell>(mut cell: OwnedMutexGuard<Option<C>>) {
    let Some(used) = cell.as_ref() else {
        return;
    };
    if let Err(why) = used.renew().await {
        tracing::warn!(sandbox = %used.sandbox(), "a user's sandbox ends: {why}");
        *cell = None;
    }
}

#[cfg(test)]
mod tests;
