//! Who gets whose sandbox, who waits, and who goes.

use postern_contract::SandboxId;

use super::{
    super::tests::{Played, PlayedCell},
    *,
};

fn facts(user: Option<&str>) -> RunFacts {
    RunFacts {
        run: "run-1".parse().unwrap(),
        request_id: "rid-1".parse().unwrap(),
        user: user.map(str::to_owned),
    }
}

fn users(played: &Arc<Played>, most: usize) -> Users<PlayedCell> {
    Users::of(played.open(0), most, Duration::from_secs(60))
}

async fn place(users: &Users<PlayedCell>, user: &str) -> Box<dyn Place> {
    users.place(&facts(Some(user))).unwrap().await.unwrap()
}

async fn sandbox(users: &Users<PlayedCell>, user: &str) -> SandboxId {
    place(users, user).await.sandbox().clone()
}

#[tokio::test]
async fn a_user_keeps_a_sandbox_and_shares_it_with_nobody() {
    let played = Played::starting(100);
    let users = users(&played, 4);
    let ada = sandbox(&users, "ada").await;
    let eve = sandbox(&users, "eve").await;
    assert_ne!(ada, eve);
    assert_eq!(sandbox(&users, "ada").await, ada);
    assert_eq!(sandbox(&users, "eve").await, eve);
    assert_eq!(users.place(&facts(None)).err(), Some(NoPlace::NoUser));
}

#[tokio::test]
async fn one_run_at_a_time_and_between_two_the_sandbox_is_renewed() {
    let played = Played::starting(100);
    let users = users(&played, 4);
    let first = place(&users, "ada").await;
    let mut second = users.place(&facts(Some("ada"))).unwrap();
    assert!(futures_util::poll!(&mut second).is_pending());
    assert_eq!(*played.renewed.borrow(), 0);
    drop(first);
    let second = second.await.unwrap();
    assert_eq!(*played.renewed.borrow(), 1);
    drop(second);
    let mut waiting = Vec::new();
    for _ in 0..RUNS_PER_USER_MAX {
        waiting.push(users.place(&facts(Some("ada"))).unwrap());
    }
    let full = users.place(&facts(Some("ada"))).err();
    assert_eq!(full, Some(NoPlace::UserBusy(RUNS_PER_USER_MAX)));
    drop(waiting);
    assert!(users.place(&facts(Some("ada"))).is_ok());
}

#[tokio::test]
async fn for_another_user_the_one_goes_that_was_idle_longest_and_never_one_in_use() {
    let played = Played::starting(100);
    let users = users(&played, 2);
    let ada = sandbox(&users, "ada").await;
    let eve = sandbox(&users, "eve").await;
    assert_eq!(sandbox(&users, "ada").await, ada);
    let bob = place(&users, "bob").await;
    let busy = place(&users, "ada").await;
    assert_eq!(*busy.sandbox(), ada, "eve's went");
    assert_eq!(
        users.place(&facts(Some("eve"))).err(),
        Some(NoPlace::AllBusy(2))
    );
    drop(bob);
    assert_ne!(sandbox(&users, "eve").await, eve, "a fresh one");
}

#[tokio::test(start_paused = true)]
async fn an_idle_sandbox_ends_and_one_that_is_used_does_not() {
    let played = Played::starting(100);
    let users = Users::of(played.open(1), 4, Duration::from_secs(60));
    played.stand(1).await;
    drop(place(&users, "ada").await);
    let busy = place(&users, "bob").await;
    played.stand(3).await;
    played.stand(2).await;
    drop(busy);
    played.stand(1).await;
}
