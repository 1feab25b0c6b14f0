//! Played sandboxes: what a pool starts, hands out and refuses, and when.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use postern_contract::SandboxId;
use postern_invoke::{Input, RunFacts};
use tokio::sync::Semaphore;

use super::*;
use crate::agents::Call;

/// A nursery that starts one cell for each permit, and fails while it is told to.
pub(super) struct Played {
    pub(super) may_start: Arc<Semaphore>,
    pub(super) fails: Mutex<Option<&'static str>>,
    pub(super) begun: AtomicUsize,
    pub(super) standing: Arc<watch::Sender<usize>>,
    pub(super) renewed: Arc<watch::Sender<usize>>,
}

pub(super) struct PlayedCell {
    pub(super) id: SandboxId,
    over: watch::Sender<bool>,
    standing: Arc<watch::Sender<usize>>,
    renewed: Arc<watch::Sender<usize>>,
}

impl Played {
    pub(super) fn starting(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            may_start: Arc::new(Semaphore::new(permits)),
            fails: Mutex::new(None),
            begun: AtomicUsize::new(0),
            standing: Arc::new(watch::Sender::new(0)),
            renewed: Arc::new(watch::Sender::new(0)),
        })
    }

    pub(super) fn open(self: &Arc<Self>, size: usize) -> Pool<PlayedCell> {
        Pool::open(Arc::clone(self), size, Arc::clone(self).start())
    }

    /// Returns when so many stand.
    pub(super) async fn stand(&self, count: usize) {
        let mut standing = self.standing.subscribe();
        standing
            .wait_for(|standing| *standing == count)
            .await
            .unwrap();
    }
}

impl Nursery for Played {
    type Cell = PlayedCell;

    async fn start(self: Arc<Self>) -> Result<PlayedCell, String> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.may_start.acquire().await.unwrap().forget();
        if let Some(why) = *self.fails.lock().unwrap() {
            return Err(why.to_owned());
        }
        self.standing.send_modify(|standing| *standing += 1);
        Ok(PlayedCell {
            id: SandboxId::fresh(),
            over: watch::Sender::new(false),
            standing: Arc::clone(&self.standing),
            renewed: Arc::clone(&self.renewed),
        })
    }
}

impl PlayedCell {
    fn die(&self) {
        self.over.send_replace(true);
    }
}

impl Drop for PlayedCell {
    fn drop(&mut self) {
        self.standing.send_modify(|standing| *standing -= 1);
    }
}

impl Place for PlayedCell {
    fn sandbox(&self) -> &SandboxId {
        &self.id
    }

    fn carry_out(&self, _: Call, _: &RunFacts, _: mpsc::Sender<Input>) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

impl Cell for PlayedCell {
    fn has_ended(&self) -> bool {
        *self.over.borrow()
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        let mut over = self.over.subscribe();
        Box::pin(async move { drop(over.wait_for(|over| *over).await) })
    }

    async fn renew(&self) -> Result<(), String> {
        self.renewed.send_modify(|renewed| *renewed += 1);
        Ok(())
    }
}

async fn until(pool: &Pool<PlayedCell>, wanted: impl Fn(&Readiness) -> bool) {
    pool.readiness().wait_for(wanted).await.unwrap();
}

fn is_ready(readiness: &Readiness) -> bool {
    matches!(readiness, Readiness::Ready { .. })
}

#[tokio::test]
async fn so_many_stand_before_anybody_asks_and_what_is_taken_is_replaced() {
    let played = Played::starting(100);
    let pool = played.open(3);
    played.stand(3).await;
    let first = pool.take().await.unwrap();
    played.stand(4).await;
    let second = pool.take().await.unwrap();
    assert_ne!(first.id, second.id);
    played.stand(5).await;
    drop((first, second));
    played.stand(3).await;
    drop(pool);
    played.stand(0).await;
}

#[tokio::test]
async fn a_dry_pool_starts_one_for_whoever_waits() {
    let played = Played::starting(1);
    let pool = played.open(0);
    until(&pool, is_ready).await;
    let first = pool.take().await.unwrap();
    let second = tokio::spawn(pool.take());
    played.may_start.add_permits(1);
    let second = second.await.unwrap().unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(played.begun.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn nobody_gets_a_sandbox_whose_worker_is_gone() {
    let played = Played::starting(100);
    let pool = played.open(1);
    let dead = pool.take().await.unwrap();
    dead.die();
    drop(dead);
    let next = pool.take().await.unwrap();
    assert!(!next.has_ended());
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_is_told_and_tried_again() {
    let played = Played::starting(100);
    *played.fails.lock().unwrap() = Some("ImportError: x");
    let pool = played.open(1);
    let why = |readiness: &Readiness| {
        *readiness
            == Readiness::NotReady {
                why: "ImportError: x".to_owned(),
            }
    };
    until(&pool, why).await;
    assert_eq!(pool.take().await.err().unwrap(), "ImportError: x");
    *played.fails.lock().unwrap() = None;
    until(&pool, is_ready).await;
    assert!(pool.take().await.is_ok());
}

#[tokio::test]
async fn who_does_not_wait_any_more_gets_nothing() {
    let played = Played::starting(1);
    let pool = played.open(0);
    until(&pool, is_ready).await;
    let first = pool.take().await.unwrap();
    {
        let second = pool.take();
        tokio::pin!(second);
        assert!(futures_util::poll!(second.as_mut()).is_pending());
    }
    let third = tokio::spawn(pool.take());
    played.may_start.add_permits(2);
    let third = third.await.unwrap().unwrap();
    assert_ne!(first.id, third.id);
}
