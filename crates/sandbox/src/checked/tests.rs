//! Plans that a hostile posternd would send.

use postern_contract::SandboxId;

use super::*;
use crate::config::AgentIds;

fn config() -> Config {
    Config {
        source_roots: vec!["/srv/agents".into()],
        discard_roots: vec!["/srv/agents/trees".into()],
        ids: Ids::Range(AgentIds {
            first: 64_200,
            count: 4,
        }),
        peer_uid: 0,
        mandatory: vec![Layer::Seccomp],
        images: Images::default(),
    }
}

fn plan() -> Plan {
    Plan {
        sandbox: SandboxId::fresh(),
        purpose: Purpose::Agent,
        hostname: "desk".to_owned(),
        uid_slot: 3,
        mounts: Vec::new(),
        trusted: None,
        listeners: vec![Listener::Gate],
        limits: Limits::default(),
        required: vec![Layer::NetNamespace],
    }
}

fn mount(source: &str, target: &str) -> Mount {
    Mount {
        source: source.into(),
        target: target.into(),
        access: Access::ReadOnly,
    }
}

#[test]
fn a_good_plan_is_narrowed_by_the_config() {
    let mounts = vec![
        mount("/srv/agents/desk/v1", "/agent"),
        mount("/srv/agents", "/run/all"),
    ];
    let checked = check(Plan { mounts, ..plan() }, &config()).unwrap();
    assert_eq!(checked.identity, Identity::Own { id: 64_203 });
    assert_eq!(
        checked.required,
        BTreeSet::from([Layer::NetNamespace, Layer::Seccomp])
    );
    assert_eq!(checked.shown[0].beneath, Path::new("desk/v1"));
    assert_eq!(checked.shown[0].target, Path::new("agent"));
}

#[test]
fn a_slot_beyond_the_range_is_refused() {
    let refused = check(
        Plan {
            uid_slot: 4,
            ..plan()
        },
        &config(),
    )
    .unwrap_err();
    assert_eq!(refused.layer, Some(Layer::SeparateUid));
}

#[test]
fn sources_outside_the_roots_are_refused() {
    for source in [
        "/etc",
        "/srv/agents/../secret",
        "/srv/agents2/x",
        "/srv/agentsx",
        "srv/agents/x",
        "/srv/agents//x",
        "/srv/agents/./x",
        "/",
        "",
    ] {
        let mounts = vec![mount(source, "/agent")];
        assert!(
            check(Plan { mounts, ..plan() }, &config()).is_err(),
            "{source}"
        );
    }
}

#[test]
fn targets_that_are_not_the_plans_are_refused() {
    for target in [
        "/",
        "",
        "/proc/x",
        "/proc",
        "/etc/passwd",
        "/usr/bin",
        "/lib64/x",
        "/dev/null",
        "/sys",
        "/a/../etc",
        "agent",
        "/agent/",
        "//agent",
        "/a\0b",
    ] {
        let mounts = vec![mount("/srv/agents/desk", target)];
        assert!(
            check(Plan { mounts, ..plan() }, &config()).is_err(),
            "{target}"
        );
    }
}

#[test]
fn targets_lie_apart() {
    for pair in [
        ["/agent", "/agent"],
        ["/agent", "/agent/x"],
        ["/agent/x/y", "/agent"],
    ] {
        let mounts = pair
            .iter()
            .map(|target| mount("/srv/agents/desk", target))
            .collect();
        assert!(
            check(Plan { mounts, ..plan() }, &config()).is_err(),
            "{pair:?}"
        );
    }
    let mounts = ["/agent", "/agents"]
        .iter()
        .map(|target| mount("/srv/agents/x", target));
    assert!(
        check(
            Plan {
                mounts: mounts.collect(),
                ..plan()
            },
            &config()
        )
        .is_ok()
    );
}

#[test]
fn only_what_lies_beneath_a_discard_root_is_fresh() {
    let config = Config {
        source_roots: vec!["/etc".into(), "/srv/agents".into()],
        ..config()
    };
    let fresh = |source: &str| {
        let mounts = vec![Mount {
            access: Access::Fresh,
            ..mount(source, "/agent")
        }];
        check(Plan { mounts, ..plan() }, &config)
    };
    for source in [
        "/etc/cron.d",
        "/srv/agents",
        "/srv/agents/desk",
        "/srv/agents/trees",
        "/srv/agents/trees2/v1",
    ] {
        assert!(fresh(source).is_err(), "{source}");
    }
    let checked = fresh("/srv/agents/trees/desk/v1").unwrap();
    assert_eq!(checked.shown[0].root, Path::new("/srv/agents/trees"));
    assert_eq!(checked.shown[0].beneath, Path::new("desk/v1"));
}

#[test]
fn a_discard_root_that_is_not_shown_makes_nothing_fresh() {
    let config = Config {
        source_roots: vec!["/etc".into()],
        ..config()
    };
    let mounts = vec![Mount {
        access: Access::Fresh,
        ..mount("/srv/agents/trees/v1", "/agent")
    }];
    assert!(check(Plan { mounts, ..plan() }, &config).is_err());
}

#[test]
fn a_written_limit_requires_the_layer_that_holds_it() {
    let none = Limits::default();
    let required = |limits: Limits| {
        let checked = check(Plan { limits, ..plan() }, &config()).unwrap();
        checked.required.contains(&Layer::ResourceLimits)
    };
    assert!(!required(none.clone()));
    for limits in [
        Limits {
            memory_bytes: Some(1 << 30),
            ..none.clone()
        },
        Limits {
            processes: Some(64),
            ..none.clone()
        },
        Limits {
            open_files: Some(64),
            ..none
        },
    ] {
        assert!(required(limits.clone()), "{limits:?}");
    }
}

#[test]
fn host_names_are_plain() {
    for bad in ["", "-x", "a b", "a\nb", "a/b", &"a".repeat(64)] {
        assert!(
            check(
                Plan {
                    hostname: bad.to_owned(),
                    ..plan()
                },
                &config()
            )
            .is_err(),
            "{bad}"
        );
    }
}

#[test]
fn an_install_sandbox_has_no_listener_and_nobody_has_two() {
    let install = Plan {
        purpose: Purpose::Install,
        ..plan()
    };
    assert!(check(install, &config()).is_err());
    let twice = Plan {
        listeners: vec![Listener::Gate; 2],
        ..plan()
    };
    assert!(check(twice, &config()).is_err());
}

#[test]
fn limits_that_mean_no_limit_are_refused() {
    let none = Limits::default();
    for limits in [
        Limits {
            scratch_bytes: Some(0),
            ..none.clone()
        },
        Limits {
            processes: Some(0),
            ..none.clone()
        },
        Limits {
            memory_bytes: Some(0),
            ..none.clone()
        },
        Limits {
            open_files: Some(63),
            ..none
        },
    ] {
        assert!(check(Plan { limits, ..plan() }, &config()).is_err());
    }
}

#[test]
fn what_is_trusted_comes_from_a_permitted_root_and_goes_to_its_two_places() {
    let good = "/srv/agents/ca.crt";
    let trusting = |list: &str, java: &str| {
        let trusted = Some(Trusted {
            list: list.into(),
            java: java.into(),
        });
        check(Plan { trusted, ..plan() }, &config())
    };
    let trusted = trusting(good, "/srv/agents/cacerts").unwrap();
    let places = [
        "etc/ssl/certs/ca-certificates.crt",
        "etc/ssl/certs/java/cacerts",
    ];
    for (shown, place) in trusted.trusted.unwrap().iter().zip(places) {
        assert_eq!(shown.target, Path::new(place));
        assert_eq!(shown.access, Access::ReadOnly);
    }
    for source in [
        "/etc/shadow",
        "/srv/agents/../../etc/shadow",
        "srv/agents/ca.crt",
    ] {
        assert!(trusting(source, good).is_err(), "{source}");
        assert!(trusting(good, source).is_err(), "{source}");
    }
}
