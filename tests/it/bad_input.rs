//! Bad input: one line that says what and where, the right exit code, nothing half-made.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt};

use postern_testkit::{Archive, Ended, Setup};

use crate::fixture;

/// A start that must fail with this code and one line that holds all of these words.
fn fails(setup: Setup, code: i32, words: &[&str]) -> Ended {
    let Err(ended) = setup.try_start() else {
        panic!("it started, though {words:?}")
    };
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "no `{word}` in {ended:?}");
    }
    ended.assert_nothing_left();
    ended
}

fn config() -> String {
    fixture::config("http://127.0.0.1:9")
}

#[test]
fn an_unknown_key_gets_its_place_and_the_nearest_one() {
    let text = config().replace("credential =", "credentials =");
    let line = text
        .lines()
        .position(|line| line.starts_with("credentials"))
        .unwrap()
        + 1;
    let ended = fails(
        fixture::files(Setup::new(&text)),
        2,
        &[
            &format!("postern.toml:{line}:1:"),
            "credentials",
            "`credential`",
        ],
    );
    assert!(
        !ended.folder.path().join("state").exists(),
        "nothing was made"
    );
    let text =
        config().replace("memory", "memroy") + "\n[agents.hands.sandbox]\nmemroy = \"1GiB\"\n";
    let _ = fails(
        fixture::files(Setup::new(&text)),
        2,
        &["memroy", "`memory`"],
    );
}

#[test]
fn a_name_that_nothing_has_is_told_with_those_that_are() {
    let text = config().replace("tools = [\"shop\"]", "tools = [\"shopp\"]");
    let _ = fails(
        fixture::files(Setup::new(&text)),
        2,
        &["postern.toml:", "shopp", "`shop`"],
    );
}

#[test]
fn no_toml_at_all_is_told_with_its_place() {
    let _ = fails(Setup::new("[listen\napi = 1\n"), 2, &["postern.toml:1:"]);
    let _ = fails(
        Setup::new("[listen]\napi = \"nowhere\"\n"),
        2,
        &["postern.toml:2:"],
    );
}

#[test]
fn a_missing_secret_file_is_named() {
    let setup = Setup::new(&config()).file("hands.tar.gz", fixture::hands().tar_gz());
    let ended = fails(
        setup,
        2,
        &["postern.toml:", "secrets/shop.key", "No such file"],
    );
    assert!(
        !ended.folder.path().join("state").exists(),
        "nothing was made"
    );
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let setup = Setup::new(&config())
        .file("hands.tar.gz", fixture::hands().tar_gz())
        .file("secrets/shop.key", fixture::KEY);
    let ended = fails(setup, 2, &["secrets/shop.key", "chmod 600"]);
    assert!(!ended.stderr.contains(fixture::KEY));
}

#[test]
fn a_port_in_use_is_named() {
    for key in ["api", "operator"] {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let text = config().replace(
            &format!("{key} = \"127.0.0.1:0\""),
            &format!("{key} = \"{address}\""),
        );
        let _ = fails(fixture::files(Setup::new(&text)), 1, &[&address, "in use"]);
    }
}

#[test]
fn a_tar_that_is_no_tar_leaves_nothing_installed() {
    let escape = Archive::new()
        .file("agent.py", "x = 1")
        .file("../../escape.py", "x = 1");
    let whole = fixture::hands().tar_gz();
    for (archive, what) in [
        (
            b"\xfd7zXZ\0 and so on".to_vec(),
            "of a kind that is not taken",
        ),
        (whole[..whole.len() / 2].to_vec(), "cut short"),
        (escape.tar_gz(), "leaves its directory"),
        (
            Archive::new().file("/etc/agent.py", "x = 1").tar_gz(),
            "absolute",
        ),
    ] {
        let setup = fixture::with_archive(Setup::new(&config()), archive);
        let ended = fails(setup, 1, &["hands.tar.gz"]);
        let agents = ended.folder.path().join("state/runtime/agents/hands");
        assert!(!agents.join("current").exists(), "{what}: it went live");
        let versions = fs::read_dir(agents.join("versions"));
        let left: Vec<_> = versions
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        assert!(left.is_empty(), "{what}: half-made: {left:?}");
        assert!(!ended.folder.path().join("state/escape.py").exists());
    }
}

#[test]
fn a_handler_that_does_not_import_is_told_with_its_last_line() {
    for (code, word) in [
        (
            "import no_such_module_anywhere\n",
            "no_such_module_anywhere",
        ),
        ("def handler(request:\n", "SyntaxError"),
        ("x = 1\n", "handler"),
    ] {
        let archive = Archive::new().file("agent.py", code).tar_gz();
        let setup = fixture::with_archive(Setup::new(&config()), archive);
        let _ = fails(setup, 1, &["hands", word]);
    }
}

#[test]
fn several_agents_need_a_default() {
    let text = config() + "\n[agents.other]\nkind = \"builtin\"\nmodels = [\"fast\"]\n";
    let _ = fails(fixture::files(Setup::new(&text)), 2, &["default_agent"]);
}

#[test]
fn what_a_daemons_user_cannot_read_is_named_with_that_user() {
    if !fixture::is_root() {
        return;
    }
    let set_mode = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let setup = fixture::files(Setup::new(&config()));
    set_mode(setup.folder(), 0o700);
    let folder = setup.folder().display().to_string();
    let ended = fails(setup, 2, &[&folder, "posternd (uid 64100)"]);
    assert!(
        !ended.folder.path().join("state").exists(),
        "nothing was made"
    );
    let setup = fixture::files(Setup::new(&config()));
    let key = setup.folder().join("secrets/shop.key");
    std::os::unix::fs::chown(&key, Some(0), Some(0)).unwrap();
    let _ = fails(setup, 2, &["secrets/shop.key", "the gate (uid 64101)"]);
}

#[test]
fn a_layer_that_an_ordinary_user_cannot_have_is_named_with_the_way_out() {
    let setup = Setup::new(&config())
        .as_ordinary_user()
        .file("hands.tar.gz", fixture::hands().tar_gz())
        .secret("secrets/shop.key", fixture::KEY);
    let _ = fails(
        setup,
        1,
        &[
            "agent hands",
            "as root",
            "allow_weaker = [\"separate_uid\"]",
        ],
    );
}
