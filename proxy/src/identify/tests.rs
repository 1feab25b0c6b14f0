//! Who is believed about what, by where a call comes from.

use super::*;

fn room(origin: Origin) -> Arc<Room> {
    Arc::new(Room::new(
        SandboxId::fresh(),
        "desk".parse().unwrap(),
        origin,
    ))
}

fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

fn run(text: &str) -> RunId {
    text.parse().unwrap()
}

fn caller(room: &Arc<Room>, pairs: &[(&'static str, &str)]) -> Caller {
    room.caller(&fields(pairs), None, &RequestId::fresh())
}

fn told(caller: &Caller) -> Vec<(String, String)> {
    caller
        .told()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn a_sandbox_is_believed_only_about_its_own_active_runs() {
    let room = room(Origin::Sandbox);
    assert_eq!(caller(&room, &[]).run, Err(Doubt::NoneActive));
    room.run_started(run("run_1"), Some("ada".to_owned()))
        .unwrap();
    assert_eq!(caller(&room, &[]).run, Ok(run("run_1")));
    assert_eq!(
        caller(&room, &[("x-run-id", "run_9")]).run,
        Err(Doubt::NotActive)
    );
    room.run_started(run("run_2"), None).unwrap();
    assert_eq!(caller(&room, &[]).run, Err(Doubt::Several));
    let second = caller(&room, &[("x-run-id", "run_2")]);
    assert_eq!((second.run, second.user), (Ok(run("run_2")), None));
    room.run_ended(&run("run_2"));
    assert_eq!(
        caller(&room, &[("x-run-id", "run_2")]).run,
        Err(Doubt::NotActive)
    );
}

#[test]
fn a_sandbox_cannot_name_its_user_or_its_action() {
    let room = room(Origin::Sandbox);
    room.run_started(run("run_1"), None).unwrap();
    let forged = [
        ("x-end-user-id", "root"),
        ("x-action-id", "a"),
        ("x-tool-name", "t"),
        ("x-postern-on-approval", "pause"),
    ];
    for origin in [Origin::User, Origin::Run] {
        let alone = self::room(origin);
        alone.run_started(run("run_1"), None).unwrap();
        let caller = caller(&alone, &forged);
        assert_eq!((caller.pauses, caller.action), (false, None));
    }
    let caller = caller(&room, &forged);
    assert_eq!((caller.pauses, &caller.action), (false, &None));
    assert_eq!(caller.user, None);
    assert_eq!(told(&caller).len(), 1);
    assert_eq!(told(&caller)[0].0, "x-request-id");
}

#[test]
fn the_run_can_stand_in_the_proxys_url() {
    let room = room(Origin::Sandbox);
    room.run_started(run("run_1"), None).unwrap();
    room.run_started(run("run_2"), None).unwrap();
    let basic = format!("Basic {}", STANDARD.encode("run_2:"));
    assert_eq!(
        caller(&room, &[("proxy-authorization", &basic)]).run,
        Ok(run("run_2"))
    );
}

#[test]
fn what_a_connect_says_about_its_run_holds_inside_unless_the_inside_says_more() {
    let room = room(Origin::Sandbox);
    room.run_started(run("run_1"), None).unwrap();
    room.run_started(run("run_2"), None).unwrap();
    let inside = |pairs| room.caller(&fields(pairs), Some("run_2"), &RequestId::fresh());
    assert_eq!(inside(&[]).run, Ok(run("run_2")));
    assert_eq!(inside(&[("x-run-id", "run_1")]).run, Ok(run("run_1")));
    assert_eq!(inside(&[("x-run-id", "run_9")]).run, Err(Doubt::NotActive));
}

#[test]
fn in_a_sandbox_of_ones_own_the_user_is_known_and_nobody_else_comes_in() {
    for origin in [Origin::User, Origin::Run] {
        let room = room(origin);
        room.run_started(run("run_1"), Some("ada".to_owned()))
            .unwrap();
        let forged = caller(
            &room,
            &[
                ("x-end-user-id", "eve"),
                ("x-tool-name", "bank"),
                ("x-action-id", "act_1"),
            ],
        );
        assert_eq!(forged.believed_user(), Some("ada"));
        assert_eq!(forged.run, Ok(run("run_1")));
        let wanted = [("x-run-id", "run_1"), ("x-end-user-id", "ada")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(told(&forged)[..2], wanted);
        assert!(
            told(&forged)[2..]
                .iter()
                .all(|(name, _)| name == "x-request-id")
        );
        let at_once = room.run_started(run("run_2"), Some("ada".to_owned()));
        assert_eq!(at_once, Err(NotHere::Another));
        room.run_ended(&run("run_1"));
        let left_behind = caller(&room, &[]);
        assert_eq!(
            (left_behind.believed_user(), &left_behind.run),
            (None, &Err(Doubt::NoneActive))
        );
        let other = room.run_started(run("run_2"), Some("eve".to_owned()));
        assert!(other.is_err(), "{origin:?}");
        let next = room.run_started(run("run_3"), Some("ada".to_owned()));
        assert_eq!(next.is_ok(), origin == Origin::User, "{origin:?}");
    }
}

#[test]
fn the_runtime_is_believed() {
    let fields = [
        ("x-run-id", "run_7"),
        ("x-end-user-id", "ada"),
        ("x-action-id", "act_1"),
        ("x-tool-call-id", "call_1"),
        ("x-request-id", "req_1"),
    ];
    let caller = caller(&room(Origin::Runtime), &fields);
    assert_eq!(
        (&caller.run, caller.user.as_deref()),
        (&Ok(run("run_7")), Some("ada"))
    );
    for (name, value) in fields {
        let wanted = (name.to_owned(), value.to_owned());
        // That a human said yes is told by who has verified it.
        let is_told = name != "x-action-id";
        assert_eq!(told(&caller).contains(&wanted), is_told, "{name}");
    }
    assert_eq!(caller.action, Some("act_1".parse().unwrap()));
}

#[test]
fn runs_are_bounded() {
    let room = room(Origin::Sandbox);
    for _ in 0..RUNS_PER_SANDBOX_MAX {
        room.run_started(RunId::fresh(), None).unwrap();
    }
    assert!(room.run_started(RunId::fresh(), None).is_err());
}
