//! A worker as the test plays it, frame by frame.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Long enough for whatever a test does not want to overrun.
pub(super) const WALL_TIME: Duration = Duration::from_secs(600);

/// The next frame that a worker is sent.
async fn next(theirs: &mut UnixStream) -> Value {
    let length = theirs.read_u32().await.unwrap();
    let mut body = vec![0; length as usize];
    theirs.read_exact(&mut body).await.unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// A frame as a worker sends it.
fn frame(text: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_hear_of_a_cancelled_call_is_ended() {
    for hears in [true, false] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut worker = Worker::over(ours, WALL_TIME, printing());
        let (sender, mut calls) = mpsc::channel(1);
        let (first, asking) = call(&json!("x"));
        sender.send(first).await.unwrap();
        let play = async {
            next(&mut theirs).await;
            drop(asking);
            assert_eq!(next(&mut theirs).await, json!({ "cancel": { "id": 1 } }));
            if hears {
                theirs
                    .write_all(&frame("{\"heard\":{\"id\":1}}"))
                    .await
                    .unwrap();
                // Another call is answered, so it has been heard of.
                let (second, asking) = call(&json!("y"));
                sender.send(second).await.unwrap();
                next(&mut theirs).await;
                theirs
                    .write_all(&frame("{\"returned\":{\"id\":2,\"text\":\"\"}}"))
                    .await
                    .unwrap();
                asking.replied.await.unwrap().unwrap();
                tokio::time::advance(HEARD_MAX * 2).await;
                return (theirs, None);
            }
            (theirs, Some(sender))
        };
        let (ended, _open) = tokio::join!(worker.serve(&mut calls, std::future::pending()), play);
        match ended {
            Ended::Unwanted => assert!(hears),
            Ended::Failed(why) => assert!(!hears && why.contains("stuck"), "{why}"),
            Ended::NotLoaded(why) | Ended::Overran(why) => panic!("{why}"),
        }
    }
}

#[tokio::test]
async fn frames_that_answer_nothing_are_dropped_and_nonsense_ends_the_worker() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut worker = Worker::over(ours, WALL_TIME, printing());
    theirs
        .write_all(&frame("{\"ready\":{\"found\":\"handler\"}}"))
        .await
        .unwrap();
    worker.ready().await.unwrap();
    let (sender, mut calls) = mpsc::channel(1);
    let (call, asking) = call(&json!("x"));
    sender.send(call).await.unwrap();
    let play = async {
        let asked = next(&mut theirs).await;
        assert_eq!(
            (&asked["call"]["id"], &asked["call"]["run"]),
            (&json!(1), &json!("run-1"))
        );
        theirs
            .write_all(&frame("{\"returned\":{\"id\":99,\"text\":\"forged\"}}"))
            .await
            .unwrap();
        theirs
            .write_all(&frame("{\"returned\":{\"id\":1,\"text\":\"true\"}}"))
            .await
            .unwrap();
        assert_eq!(asking.replied.await.unwrap(), Ok(json!("true")));
        theirs.write_all(&frame("nonsense")).await.unwrap();
    };
    let (ended, ()) = tokio::join!(worker.serve(&mut calls, std::future::pending()), play);
    let Ended::Failed(why) = ended else {
        panic!("{ended:?}")
    };
    assert!(why.contains("not understood"), "{why}");
}

/// A call that nobody waits for any more and that does not stop, beside one that is wanted.
#[tokio::test(start_paused = true)]
async fn code_that_goes_on_after_its_time_takes_its_worker_with_it() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut worker = Worker::over(ours, Duration::from_secs(60), printing());
    let (sender, mut calls) = mpsc::channel(2);
    let (unwanted, asking) = call(&json!("x"));
    let (wanted, waiting) = call(&json!("y"));
    sender.send(unwanted).await.unwrap();
    sender.send(wanted).await.unwrap();
    drop(asking);
    let play = async {
        while next(&mut theirs).await.get("cancel").is_none() {}
        theirs
            .write_all(&frame("{\"heard\":{\"id\":1}}"))
            .await
            .unwrap();
        theirs
    };
    let (ended, _open) = tokio::join!(worker.serve(&mut calls, std::future::pending()), play);
    assert!(
        matches!(&ended, Ended::Overran(why) if why.contains("60s")),
        "{ended:?}"
    );
    let told = waiting.replied.await.unwrap().unwrap_err();
    assert!(told.contains("did not stop"), "{told}");
}
