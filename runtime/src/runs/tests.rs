//! Runs with a played agent and a played gate: what is stored, told and answered, and in which order.

mod at_once;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::future::BoxFuture;
use postern_contract::{
    SandboxId,
    link::{FromGate, GateStatus, News, Reply, ToGate},
};
use postern_daemon::channel::{Channel, Listener};
use postern_invoke::{Input, Plan, Resumes, Worker};
use postern_store::runs::{EventType, RunStatus};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, watch};

use super::*;
use crate::{
    agents::{Call, Coming, NoPlace, Place},
    app::{App, GateView, Served},
    config::tests::agent_of,
    sandbox::Weakened,
};

/// An agent that answers `{"response": "hello"}` as soon as it may.
pub(crate) struct Played {
    pub(crate) readiness: watch::Sender<Readiness>,
    pub(crate) may_answer: Semaphore,
    pub(crate) called: Arc<AtomicUsize>,
    saying: watch::Sender<Option<mpsc::Sender<Input>>>,
}

impl Played {
    /// Says a piece of the answer to the run that was begun last, once there is one.
    pub(crate) async fn say(&self, text: &str) {
        let mut saying = self.saying.subscribe();
        let inputs = saying.wait_for(Option::is_some).await.unwrap().clone();
        let delta = Some(text.to_owned());
        let said = Input::WorkerSaid(postern_invoke::Event::Content { delta });
        inputs.unwrap().send(said).await.unwrap();
    }
}

struct PlayedHost(Arc<Played>);

impl Host for PlayedHost {
    fn plan(&self) -> Plan {
        Plan::Worker(Worker {
            model: "fast".to_owned(),
            resumes: Resumes::Always,
        })
    }

    fn readiness(&self) -> watch::Receiver<Readiness> {
        self.0.readiness.subscribe()
    }

    fn weakened(&self) -> Vec<Weakened> {
        Vec::new()
    }

    fn place(&self, _: &RunFacts) -> Result<Coming, NoPlace> {
        let place = PlayedPlace(SandboxId::fresh(), Arc::clone(&self.0));
        Ok(Box::pin(async { Ok(Box::new(place) as Box<dyn Place>) }))
    }
}

struct PlayedPlace(SandboxId, Arc<Played>);

impl Place for PlayedPlace {
    fn sandbox(&self) -> &SandboxId {
        &self.0
    }

    fn carry_out(
        &self,
        call: Call,
        _facts: &RunFacts,
        inputs: mpsc::Sender<Input>,
    ) -> BoxFuture<'static, ()> {
        assert!(matches!(call, Call::Worker(_)));
        let played = Arc::clone(&self.1);
        Box::pin(async move {
            played.called.fetch_add(1, Ordering::SeqCst);
            played.saying.send_replace(Some(inputs.clone()));
            played.may_answer.acquire().await.unwrap().forget();
            inputs
                .send(Input::WorkerReturned(json!({ "response": "hello" })))
                .await
                .unwrap();
        })
    }
}

/// Everything around one played agent.
pub(crate) struct Bench {
    pub(crate) app: App,
    pub(crate) agent: Arc<Played>,
    pub(crate) gate: watch::Sender<GateView>,
    pub(crate) refuse_runs: Arc<std::sync::atomic::AtomicBool>,
    told: Arc<Mutex<Vec<News>>>,
    _directory: tempfile::TempDir,
}

/// A bench whose agent may answer this many calls at once.
pub(crate) async fn bench(answers: usize) -> Bench {
    bench_on(answers, Terms::default(), Clock::system()).await
}

/// The same on these terms, by this clock.
pub(crate) async fn bench_on(answers: usize, terms: Terms, clock: Clock) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let store = Runs::open(&directory.path().join("runs.db")).await.unwrap();
    let (told, refuse_runs) = (Arc::default(), Arc::default());
    let link = played_gate(
        directory.path(),
        Arc::clone(&told),
        Arc::clone(&refuse_runs),
    );
    let agent = Arc::new(Played {
        readiness: watch::Sender::new(Readiness::Ready {
            sandbox: Some(SandboxId::fresh()),
        }),
        may_answer: Semaphore::new(answers),
        called: Arc::default(),
        saying: watch::Sender::new(None),
    });
    let config = agent_of(
        "[providers.p]\nformat = \"playground\"\n[models.fast]\nprovider = \"p\"\nupstream = \"u\"\n\
         [agents.desk]\nkind = \"builtin\"\nmodels = [\"fast\"]\n",
    );
    let callee = Callee::new(
        config.name.clone(),
        Arc::new(PlayedHost(Arc::clone(&agent))),
        terms,
    );
    let name = config.name.clone();
    let agents = BTreeMap::from([(
        name.clone(),
        Served {
            agent: config,
            callee,
        },
    )]);
    let status = GateStatus {
        policy_generation: 1,
        sandboxes: 1,
        ..GateStatus::default()
    };
    let (gate, view) = watch::channel(GateView::Reachable(status));
    let questions = Questions::new(link.clone(), clock.clone());
    let desk = RunDesk::new(store, (link, questions), Printed::new(clock));
    let app = App::new(agents, Some(name), desk, view);
    Bench {
        app,
        agent,
        gate,
        refuse_runs,
        told,
        _directory: directory,
    }
}

fn played_gate(
    directory: &std::path::Path,
    told: Arc<Mutex<Vec<News>>>,
    refuse_runs: Arc<std::sync::atomic::AtomicBool>,
) -> Link {
    let path = directory.join("link.sock");
    let listener = Listener::bind(&path).unwrap();
    tokio::spawn(async move {
        let channel = listener.accept().await.unwrap();
        while let Ok(Some((message, _))) = channel.receive::<ToGate>().await {
            let refused = refuse_runs.load(Ordering::SeqCst);
            let reply = match &message.news {
                News::RunStarted { .. } if refused => Reply::Refused {
                    why: "full".to_owned(),
                },
                _ => Reply::Done,
            };
            told.lock().unwrap().push(message.news);
            channel
                .send(
                    &FromGate {
                        re: message.seq,
                        reply,
                    },
                    &[],
                )
                .await
                .unwrap();
        }
    });
    Link::over(Channel::connect(&path).unwrap())
}

impl Bench {
    fn callee(&self) -> &Callee {
        &self.app.served(None).unwrap().callee
    }

    async fn begin(&self, run: &str, key: Option<&str>) -> Result<Begun, BeginError> {
        let facts = RunFacts {
            run: run.parse().unwrap(),
            request_id: "rid-1".parse().unwrap(),
            user: None,
        };
        let request = Request::parse(b"{\"message\":\"hi\"}").unwrap();
        let ask = Ask {
            request,
            facts,
            idempotency_key: key.map(str::to_owned),
            names_run: true,
        };
        self.app.desk.begin(self.callee(), ask).await
    }

    async fn answer(&self, run: &str, key: Option<&str>) -> Answer {
        match self.begin(run, key).await.unwrap() {
            Begun::Before(answer) => answer,
            Begun::Running(_, updates) => Answer::clone(&updates.folded().await.unwrap()),
        }
    }

    fn told(&self) -> Vec<News> {
        self.told.lock().unwrap().clone()
    }

    async fn stored(&self, run: &str) -> Run {
        self.app
            .desk
            .store()
            .run(&run.parse().unwrap())
            .await
            .unwrap()
            .unwrap()
    }
}

#[tokio::test]
async fn a_run_is_told_to_the_gate_stored_and_answered() {
    let bench = bench(1).await;
    let answer = bench.answer("run-1", None).await;
    assert_eq!(
        (answer.status, &answer.body["response"]),
        (200, &json!("hello"))
    );
    assert_eq!(answer.body["run_id"], "run-1");
    let told = bench.told();
    assert!(
        matches!(&told[..], [News::RunStarted { .. }, News::RunEnded { .. }]),
        "{told:?}"
    );
    let stored = bench.stored("run-1").await;
    assert_eq!(stored.status, RunStatus::Completed);
    assert_eq!(Answer::stored(&stored), answer);
    let events = bench
        .app
        .desk
        .store()
        .events(&stored.run, 0, 100)
        .await
        .unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    let expected = [
        EventType::UserMessage,
        EventType::AgentMessage,
        EventType::Completed,
    ];
    assert_eq!(kinds, expected);
    assert_eq!(events[1].data["message"], json!("hello"));
}

#[tokio::test]
async fn one_idempotency_key_is_one_run_while_it_goes_on_and_after() {
    let bench = bench(0).await;
    let Begun::Running(run, first) = bench.begin("run-1", Some("k")).await.unwrap() else {
        panic!()
    };
    let Begun::Running(same, second) = bench.begin("run-2", Some("k")).await.unwrap() else {
        panic!()
    };
    assert_eq!(run, same);
    bench.agent.may_answer.add_permits(1);
    let (first, second) = tokio::join!(first.folded(), second.folded());
    assert_eq!(first.unwrap(), second.unwrap());
    let Begun::Before(third) = bench.begin("run-3", Some("k")).await.unwrap() else {
        panic!()
    };
    assert_eq!(
        (third.run.as_str(), &third.body["response"]),
        ("run-1", &json!("hello"))
    );
    assert_eq!(bench.agent.called.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_very_same_call_again_gets_its_stored_answer() {
    let bench = bench(1).await;
    let Begun::Running(_, updates) = bench.begin("run-1", Some("k")).await.unwrap() else {
        panic!()
    };
    assert_eq!(updates.folded().await.unwrap().status, 200);
    for _again in 0..2 {
        let Begun::Before(answer) = bench.begin("run-1", Some("k")).await.unwrap() else {
            panic!()
        };
        assert_eq!(answer.body["response"], json!("hello"));
    }
    assert_eq!(bench.agent.called.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_id_that_exists_is_refused_while_it_goes_on_and_after() {
    let bench = bench(0).await;
    let Begun::Running(_, updates) = bench.begin("run-1", None).await.unwrap() else {
        panic!()
    };
    assert!(matches!(
        bench.begin("run-1", None).await,
        Err(BeginError::Taken(_))
    ));
    bench.agent.may_answer.add_permits(1);
    assert_eq!(updates.folded().await.unwrap().status, 200);
    assert!(matches!(
        bench.begin("run-1", None).await,
        Err(BeginError::Taken(_))
    ));
}

#[tokio::test]
async fn places_are_bounded_and_given_back() {
    let terms = Terms {
        at_once: 3,
        queue: 0,
        ..Terms::default()
    };
    let bench = bench_on(0, terms, Clock::system()).await;
    let mut running = Vec::new();
    for number in 0..terms.at_once {
        let Begun::Running(_, updates) = bench.begin(&format!("run-{number}"), None).await.unwrap()
        else {
            panic!()
        };
        running.push(updates);
    }
    assert!(matches!(
        bench.begin("one-more", None).await,
        Err(BeginError::Busy(_))
    ));
    bench.agent.may_answer.add_permits(terms.at_once + 1);
    for updates in running {
        assert_eq!(updates.folded().await.unwrap().status, 200);
    }
    bench.app.desk.active.idle().await;
    for _place in 0..terms.at_once {
        drop(bench.callee().places.take(bench.app.desk.clock()).await);
    }
    assert_eq!(bench.answer("one-more", None).await.status, 200);
}

#[tokio::test]
async fn stopping_ends_what_goes_on_and_begins_nothing_new() {
    let bench = bench(0).await;
    let Begun::Running(_, updates) = bench.begin("run-1", None).await.unwrap() else {
        panic!()
    };
    let (answer, ()) = tokio::join!(updates.folded(), bench.app.desk.stop());
    assert_eq!(answer.unwrap().status, 503);
    assert_eq!(bench.stored("run-1").await.status, RunStatus::Failed);
    assert!(matches!(
        bench.begin("run-2", None).await,
        Err(BeginError::Stopping)
    ));
}

#[tokio::test]
async fn a_run_ends_when_somebody_says_so_and_the_others_go_on() {
    let bench = bench(0).await;
    let Begun::Running(run, updates) = bench.begin("run-1", None).await.unwrap() else {
        panic!()
    };
    let Begun::Running(_, other) = bench.begin("run-2", None).await.unwrap() else {
        panic!()
    };
    let (desk, callee) = (&bench.app.desk, bench.callee());
    let (other_agent, agent) = ("other".parse().unwrap(), &callee.name);
    let asker = |agent| Asker { agent, user: None };
    assert!(desk.cancel(asker(&other_agent), &run).is_none());
    let heard = desk.cancel(asker(agent), &run).unwrap();
    let (first, second) = tokio::join!(updates.folded(), heard.folded());
    assert_eq!(first, second);
    let body = &first.unwrap().body;
    assert_eq!(body["code"], "CANCELLED");
    assert!(desk.cancel(asker(agent), &run).is_none());
    bench.agent.may_answer.add_permits(1);
    assert_eq!(other.folded().await.unwrap().status, 200);
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_run_only_where_the_config_says_so() {
    for (when_left, code) in [
        (crate::config::WhenLeft::Cancel, json!("CANCELLED")),
        (crate::config::WhenLeft::GoOn, Value::Null),
    ] {
        let terms = Terms {
            when_left,
            ..Terms::default()
        };
        let bench = bench_on(0, terms, Clock::system()).await;
        let Begun::Running(run, updates) = bench.begin("run-1", None).await.unwrap() else {
            panic!()
        };
        bench.agent.say("a piece").await;
        drop(updates);
        bench.agent.may_answer.add_permits(1);
        bench.app.desk.active.idle().await;
        let callee = bench.callee();
        let asker = Asker {
            agent: &callee.name,
            user: None,
        };
        let Found::Updates(heard) = bench.app.desk.find(asker, &run, 0) else {
            panic!()
        };
        let answer = heard.folded().await.unwrap();
        // Who has left may see it answered just before.
        if answer.status != 200 || code.is_null() {
            assert_eq!(answer.body.get("code").cloned().unwrap_or_default(), code);
        }
    }
}

#[tokio::test]
async fn a_run_has_as_long_as_its_agent_says() {
    let terms = Terms {
        deadline: Duration::from_secs(60),
        ..Terms::default()
    };
    let clock = Clock::manual(0);
    let bench = bench_on(0, terms, clock.clone()).await;
    let Begun::Running(_, updates) = bench.begin("run-1", None).await.unwrap() else {
        panic!()
    };
    bench.agent.say("it works on").await;
    clock.advance(terms.deadline);
    let answer = updates.folded().await.unwrap();
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (504, &json!("DEADLINE_PASSED"))
    );
}

#[tokio::test]
async fn a_run_that_the_gate_does_not_take_calls_nothing() {
    let bench = bench(1).await;
    bench.refuse_runs.store(true, Ordering::SeqCst);
    let answer = bench.answer("run-1", None).await;
    assert_eq!(answer.status, 502);
    assert!(
        answer.body["error"]
            .as_str()
            .unwrap()
            .contains("the gate refused: full")
    );
    assert_eq!(bench.agent.called.load(Ordering::SeqCst), 0);
    let outcome: Value = bench.stored("run-1").await.outcome.unwrap();
    assert_eq!(outcome["status"], 502);
}

#[tokio::test]
async fn an_agent_that_is_not_ready_is_not_asked() {
    let bench = bench(1).await;
    bench.agent.readiness.send_replace(Readiness::NotReady {
        why: "ImportError: x".to_owned(),
    });
    let error = bench.begin("run-1", None).await.unwrap_err();
    assert_eq!(error.to_string(), "agent desk is not ready: ImportError: x");
    assert!(bench.told().is_empty());
}
