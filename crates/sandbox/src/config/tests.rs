//! The launcher's config as written and as meant.

use super::*;

fn written(text: &str) -> Result<Written, toml::de::Error> {
    toml::from_str(text)
}

const RANGE: AgentIds = AgentIds {
    first: 64_200,
    count: 256,
};

#[test]
fn what_up_writes_is_what_the_launcher_reads() {
    let here = Written {
        source_roots: vec!["/var/lib/postern/agents".into()],
        discard_roots: vec!["/var/lib/postern/agents".into()],
        agent_ids: Some(RANGE),
        peer_uid: Some(64_100),
        mandatory_layers: vec![Layer::Seccomp],
        images: vec![Digest::of([7; 32])],
        image_store: Some("/var/lib/postern-images".into()),
    };
    let text = here.to_toml().unwrap();
    assert_eq!(written(&text).unwrap(), here);
    assert_eq!(written("").unwrap(), Written::default());
}

#[test]
fn images_have_a_place_where_they_are_kept() {
    let with = |image_store: Option<&str>| {
        let written = Written {
            images: vec![Digest::of([7; 32])],
            image_store: image_store.map(PathBuf::from),
            ..Written::default()
        };
        Config::meant(written, 1000).map(|config| config.images.store)
    };
    assert_eq!(with(Some("/srv/images")).unwrap(), Path::new("/srv/images"));
    for bad in [None, Some("images"), Some("/srv/../images")] {
        let error = with(bad).unwrap_err().to_string();
        assert!(error.starts_with("image_store: "), "{bad:?}: {error}");
    }
}

#[test]
fn an_unknown_key_is_refused() {
    assert!(written("source_root = ['/x']").is_err());
    assert!(written("agent_ids = { first = 1, count = 1, step = 2 }").is_err());
}

#[test]
fn the_range_holds_no_uid_that_is_somebody() {
    for (first, count) in [
        (0, 1),
        (64_100, 2),
        (64_099, 2),
        (65_000, 600),
        (1, 0),
        (u32::MAX, 1),
    ] {
        let ids = Some(AgentIds { first, count });
        let config = Written {
            agent_ids: ids,
            peer_uid: Some(64_100),
            ..Written::default()
        };
        assert!(Config::meant(config, 0).is_err(), "{first} {count}");
    }
    let config = Written {
        agent_ids: Some(RANGE),
        ..Written::default()
    };
    assert_eq!(Config::meant(config, 0).unwrap().ids, Ids::Range(RANGE));
}

#[test]
fn who_runs_it_decides_whose_uids_there_are() {
    assert!(
        Config::meant(Written::default(), 0).is_err(),
        "root without a range"
    );
    let config = Written {
        agent_ids: Some(RANGE),
        ..Written::default()
    };
    assert!(Config::meant(config, 1000).is_err(), "a range without root");
    let config = Config::meant(Written::default(), 1000).unwrap();
    assert_eq!(
        (config.ids, config.peer_uid),
        (Ids::Caller { uid: 1000 }, 1000)
    );
}

#[test]
fn a_slot_stays_inside_the_range() {
    assert_eq!(RANGE.slot(0), Some(64_200));
    assert_eq!(RANGE.slot(255), Some(64_455));
    assert_eq!(RANGE.slot(256), None);
    assert!(!RANGE.holds(64_456) && !RANGE.holds(64_199));
}

#[test]
fn a_root_says_where_it_leads() {
    for bad in ["x", "./x", "/a/../b", "/a/./b", "/a//b", "/a/", ""] {
        let config = Written {
            source_roots: vec![bad.into()],
            ..Written::default()
        };
        assert!(Config::meant(config, 1000).is_err(), "{bad}");
    }
    assert!(is_plain(Path::new("/")) && is_plain(Path::new("/a/b")));
}

#[test]
fn a_file_that_others_can_write_is_not_believed() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("launcher.toml");
    std::fs::write(&path, "peer_uid = 7\n").unwrap();
    for (mode, believed) in [(0o644, true), (0o600, true), (0o664, false), (0o646, false)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(Written::read(&path).is_ok(), believed, "{mode:o}");
    }
    assert!(Written::read(dir.path()).is_err(), "a directory");
}

#[test]
fn a_mistake_is_told_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("launcher.toml");
    std::fs::write(&path, "peer_uid = 7\npeer = 8\n").unwrap();
    let error = Written::read(&path).unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
}

#[test]
fn what_is_shipped_requires_every_wall_that_another_leans_on() {
    let text = include_str!("../../../../systemd/launcher.toml");
    let config = Config::meant(written(text).unwrap(), 0).unwrap();
    for layer in [Layer::Seccomp, Layer::UserNamespace, Layer::Capabilities] {
        assert!(config.mandatory.contains(&layer), "{layer:?}");
    }
}
