//! The way back with a played launcher: what is live after a rollback, after the next start, and after being killed in between.

use super::*;

const ASKED: Occasion = Occasion::Asked { renew: false };

impl Bench {
    async fn back(&self) -> Result<Version, String> {
        let rolled = self.installer.roll_back(&self.agent).await;
        rolled
            .map(|rolled| rolled.version)
            .map_err(|error| error.to_string())
    }
}

/// A devbox with two versions, of which the second is live.
async fn two() -> (Bench, Version, Version) {
    let bench = bench();
    let first = bench.makes(Occasion::Start).await;
    bench.archive("other");
    let second = bench.makes(Occasion::Start).await;
    assert_ne!(first, second);
    (bench, first, second)
}

#[tokio::test]
async fn where_only_one_is_installed_there_is_no_way_back() {
    let bench = bench();
    assert!(
        bench
            .back()
            .await
            .unwrap_err()
            .contains("no version to go back to")
    );
    let only = bench.makes(Occasion::Start).await;
    assert!(
        bench
            .back()
            .await
            .unwrap_err()
            .contains("no version to go back to")
    );
    assert_eq!(bench.live(), only);
}

#[tokio::test]
async fn a_start_keeps_what_was_rolled_back_to_and_a_second_rollback_goes_forward() {
    let (bench, first, second) = two().await;
    // A start more, and the way back is still there.
    assert_eq!(bench.makes(Occasion::Start).await, second);
    assert_eq!(bench.back().await.unwrap(), first);
    let installed = bench
        .installer
        .install(&bench.agent, &bench.files, Occasion::Start)
        .await;
    let installed = installed.unwrap();
    assert_eq!(
        (installed.version, installed.instead_of),
        (first, Some(second))
    );
    assert!(
        bench
            .installer
            .standing(&bench.agent.name)
            .unwrap()
            .rolled_back
    );
    assert_eq!(bench.back().await.unwrap(), second);
    assert_eq!(bench.makes(Occasion::Start).await, second);
    assert!(
        !bench
            .installer
            .standing(&bench.agent.name)
            .unwrap()
            .rolled_back
    );
    assert_eq!(bench.back().await.unwrap(), first);
}

#[tokio::test]
async fn asking_or_another_source_ends_a_rollback() {
    let (bench, first, second) = two().await;
    assert_eq!(bench.back().await.unwrap(), first);
    assert_eq!(bench.makes(ASKED).await, second);
    assert_eq!(bench.back().await.unwrap(), first);
    bench.archive("third");
    let third = bench.makes(Occasion::Start).await;
    assert_eq!(bench.live(), third);
    // What was live before it is the way back, and nothing else is left.
    assert_eq!(bench.tree().kept(), [third, first]);
    assert_eq!(bench.tree().newest(second.digest), None);
    assert_eq!(bench.back().await.unwrap(), first);
}

#[tokio::test]
async fn what_is_renewed_is_another_tree_and_the_one_before_stays() {
    let bench = bench();
    let first = bench.makes(Occasion::Start).await;
    assert_eq!(bench.makes(ASKED).await, first);
    let renewed = bench.makes(Occasion::Asked { renew: true }).await;
    assert_eq!((renewed.digest, renewed.renewal), (first.digest, 1));
    assert_eq!(bench.makes(Occasion::Start).await, renewed);
    assert_eq!(bench.back().await.unwrap(), first);
    assert_eq!(bench.makes(Occasion::Start).await, first);
    assert_eq!(bench.makes(ASKED).await, renewed);
}

#[tokio::test]
async fn a_running_daemon_deletes_no_version() {
    let (bench, first, second) = two().await;
    bench.archive("third");
    let third = bench.makes(ASKED).await;
    for version in [first, second, third] {
        assert_eq!(bench.tree().newest(version.digest), Some(version));
    }
    assert_eq!(bench.makes(Occasion::Start).await, third);
    assert_eq!(bench.tree().newest(first.digest), None);
}

#[tokio::test]
async fn killed_at_any_write_of_a_rollback_one_of_both_is_live_and_the_other_the_way_back() {
    let (bench, first, second) = two().await;
    let directory = bench.tree().directory().to_owned();
    let current = |version: Version| {
        std::fs::remove_file(directory.join(tree::CURRENT)).unwrap();
        let target = format!("versions/{version}");
        std::os::unix::fs::symlink(target, directory.join(tree::CURRENT)).unwrap();
    };
    // Killed before the symlink went back.
    assert_eq!(bench.back().await.unwrap(), first);
    current(second);
    assert_eq!(bench.makes(Occasion::Start).await, second);
    assert_eq!(bench.tree().kept(), [second, first]);
    // Killed when it had gone forward again, and before the step was forgotten.
    assert_eq!(bench.back().await.unwrap(), first);
    current(second);
    assert_eq!(bench.back().await.unwrap(), first);
    assert_eq!(bench.tree().kept(), [first, second]);
    // Half a file is none.
    std::fs::write(directory.join("rolled-back"), "{\"from\":").unwrap();
    assert_eq!(bench.live(), first);
    assert_eq!(bench.makes(Occasion::Start).await, second);
}
