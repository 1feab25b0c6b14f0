//! `postern secrets` against a devbox that runs: what is set is sent with the next call, what is removed never again, and no value
//! is in an argument, an answer or a file.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::{Command, Output, Stdio},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use postern_testkit::{Curl, Setup, binaries, wait};
use serde_json::Value;

use crate::fixture::{self, call_tool};

const FIRST: &str = "first-value-that-no-sandbox-may-ever-see-0123456789";
const SECOND: &str = "second-value-that-no-sandbox-may-ever-see-0123456789";

const STORE: &str =
    "[store]\npath = \"secrets/secrets.store\"\nkey = { file = \"secrets/store.key\" }\n";

/// Runs `postern secrets` on a config, with this on standard input.
fn secrets(config: &Path, words: &[&str], input: &str) -> Output {
    run(
        Command::new(binaries::postern())
            .arg("secrets")
            .args(words)
            .arg("--config")
            .arg(config),
        input,
    )
}

fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that is refused before it reads has gone.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn said(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    for told in [&output.stdout, &output.stderr] {
        let told = String::from_utf8_lossy(told);
        assert!(!told.contains(FIRST) && !told.contains(SECOND), "{told}");
    }
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// No value is in the bytes: neither as it is, nor in what hexadecimal digits or base64 in them stand for.
#[track_caller]
fn shows_no_value(bytes: &[u8]) {
    let among = |bytes: &[u8], value: &str| {
        let mut places = bytes.windows(value.len());
        places.any(|place| place == value.as_bytes())
    };
    let words = bytes.split(|byte| !byte.is_ascii_alphanumeric() && !b"+/=".contains(byte));
    let decoded =
        words.flat_map(|word| [BASE64_STANDARD.decode(word).ok(), hex::decode(word).ok()]);
    for bytes in decoded.flatten().chain([bytes.to_vec()]) {
        for value in [FIRST, SECOND] {
            // A piece would tell as much.
            assert!(
                !among(&bytes, &value[..12]),
                "{}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }
}

/// The usual config with its secret in a store.
fn config(tool: &str) -> String {
    let config = fixture::config(tool);
    let stored = config.replacen("file = \"secrets/shop.key\"", "store = true", 1);
    assert_ne!(stored, config);
    [STORE, &stored].concat()
}

/// A store with one value, and its key.
fn made(config: &str, value: &str) -> [Vec<u8>; 2] {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("postern.toml");
    fs::write(&path, config).unwrap();
    fs::create_dir(directory.path().join("secrets")).unwrap();
    said(&secrets(&path, &["set", "shop"], value));
    ["secrets.store", "store.key"]
        .map(|name| fs::read(directory.path().join("secrets").join(name)).unwrap())
}

#[test]
fn a_value_that_is_set_is_sent_without_a_restart_and_one_that_is_removed_never_again() {
    let tool = fixture::tool();
    let config = config(&tool.url());
    let [store, key] = made(&config, &format!("{FIRST}\n"));
    let setup = fixture::files(Setup::new(&config));
    let setup = setup.secret("secrets/secrets.store", store);
    let devbox = setup.secret("secrets/store.key", key).start();
    devbox.had_secret(FIRST);
    devbox.had_secret(SECOND);
    let sent = || {
        let requests = tool.requests();
        let last = requests.last().unwrap();
        last.values("authorization").concat()
    };
    assert_eq!(call_tool(&devbox, "GET", "/items/1").0, 200);
    assert_eq!(sent(), format!("Bearer {FIRST}"));

    let file = devbox.folder().join("secrets/secrets.store");
    let before = fs::metadata(&file).unwrap();
    said(&secrets(&devbox.config(), &["set", "shop"], SECOND));
    let after = fs::metadata(&file).unwrap();
    // The gate can read it still, whoever ran the command.
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert_eq!(after.permissions().mode() & 0o777, 0o600);
    wait::until("the second value is sent", || {
        // A call that is under way with the first one meanwhile is cut.
        let (status, _) = call_tool(&devbox, "GET", "/items/1");
        (status == 200 && sent() == format!("Bearer {SECOND}")).then_some(())
    });
    let rotated = tool.requests().len();

    said(&secrets(&devbox.config(), &["remove", "shop"], ""));
    wait::until("calls without their secret are refused", || {
        (call_tool(&devbox, "GET", "/items/1").0 != 200).then_some(())
    });
    let count = tool.requests().len();
    assert_ne!(call_tool(&devbox, "GET", "/items/1").0, 200);
    assert_eq!(tool.requests().len(), count);
    said(&secrets(&devbox.config(), &["set", "shop"], SECOND));
    wait::until("it is sent once more", || {
        (call_tool(&devbox, "GET", "/items/1").0 == 200).then_some(())
    });
    for request in &tool.requests()[rotated..] {
        assert_eq!(
            request.values("authorization"),
            [format!("Bearer {SECOND}")]
        );
    }

    // Another key than it was made with: the gate has nothing, and says why.
    let at = devbox.folder().join("secrets/store.key");
    fs::write(at, "0f".repeat(32)).unwrap();
    wait::until("calls are refused under another key", || {
        (call_tool(&devbox, "GET", "/items/1").0 != 200).then_some(())
    });
    wait::until("the gate's log says why", || {
        devbox
            .stderr()
            .contains("store.key does not open it")
            .then_some(())
    });
    let said = [devbox.stderr().into_bytes(), fs::read(&file).unwrap()];
    let audit = fs::read(devbox.state().join("gate/audit.jsonl")).unwrap();
    for bytes in said.iter().chain([&audit]) {
        shows_no_value(bytes);
    }
}

#[test]
fn a_value_from_the_environment_is_used_and_is_in_no_environment_any_more() {
    let tool = fixture::tool();
    let config = fixture::config(&tool.url());
    let named = config.replacen("file = \"secrets/shop.key\"", "env = \"SHOP_SECRET\"", 1);
    assert_ne!(named, config);
    // Two that are in one variable both have its value.
    let named = ["[secrets.again]\nenv = \"SHOP_SECRET\"\n", &named].concat();
    let setup = fixture::files(Setup::new(&named)).variable("SHOP_SECRET", FIRST);
    let devbox = setup.start();
    devbox.had_secret(FIRST);
    assert_eq!(call_tool(&devbox, "GET", "/items/1").0, 200);
    let last = tool.requests().pop().unwrap();
    assert_eq!(last.values("authorization"), [format!("Bearer {FIRST}")]);
    let environment = |pid: nix::unistd::Pid| {
        let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    if fixture::runs_as_root() {
        let gates = environment(devbox.gate_pid());
        assert!(
            gates.contains("SHOP_SECRET=") && !gates.contains(FIRST),
            "{gates}"
        );
        assert!(!environment(devbox.runtime_pid()).contains("SHOP_SECRET"));
    }
    // A new config finds it still.
    let changed = named.replace("read and add", "read, and add");
    fs::write(devbox.config(), changed).unwrap();
    devbox.signal(nix::sys::signal::Signal::SIGHUP);
    wait::until("the config is read anew", || {
        let ready = Curl::get(devbox.api("/readyz")).send().json();
        (ready["parts"]["gate"]["policy_generation"].as_u64() > Some(1)).then_some(())
    });
    assert_eq!(call_tool(&devbox, "GET", "/items/1").0, 200);
}

#[test]
fn a_list_says_when_and_for_what_and_never_a_value() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("postern.toml");
    fs::create_dir(directory.path().join("secrets")).unwrap();
    fs::write(&path, config("http://127.0.0.1:9")).unwrap();
    let listed = || said(&secrets(&path, &["list"], ""));
    assert_eq!(listed(), "shop  not set  tool shop\n");
    said(&secrets(&path, &["set", "shop"], FIRST));
    let line = listed();
    assert!(
        line.starts_with("shop  set 20") && line.ends_with("Z  tool shop\n"),
        "{line}"
    );
    let json: Value =
        serde_json::from_str(&said(&secrets(&path, &["list", "--json"], ""))).unwrap();
    assert_eq!(json[0]["used_by"][0], "tool shop");
    assert!(
        json[0]["set"].is_string() && json[0]["in_config"] == true,
        "{json}"
    );
    let other = secrets(&path, &["set", "unheard-of"], SECOND);
    assert_eq!(said(&other), "`unheard-of` is set\n");
    assert!(String::from_utf8_lossy(&other.stderr).contains("`store = true`"));
    for file in fs::read_dir(directory.path().join("secrets")).unwrap() {
        shows_no_value(&fs::read(file.unwrap().path()).unwrap());
    }
}

#[test]
fn a_value_is_never_taken_from_the_command_line_and_mistakes_are_explained() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("postern.toml");
    fs::create_dir(directory.path().join("secrets")).unwrap();
    fs::write(&path, config("http://127.0.0.1:9")).unwrap();
    let refused = |words: &[&str], input: &str, wanted: &str| {
        let output = secrets(&path, words, input);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && error.contains(wanted),
            "{words:?}: {error}"
        );
    };
    refused(&["set", "shop", FIRST], "", "unexpected argument");
    refused(&["set", "shop"], "", "empty");
    refused(&["set", "shop"], "two\nlines\n", "line break");
    refused(&["set", "shop"], &"a".repeat(70_000), "64 KiB");
    refused(&["remove", "shop"], "", "there is no store yet");
    assert_eq!(
        fs::read_dir(directory.path().join("secrets"))
            .unwrap()
            .count(),
        0
    );
    said(&secrets(&path, &["set", "shop"], FIRST));
    refused(&["remove", "other"], "", "there is no `other` in it");
    fs::write(&path, fixture::config("http://127.0.0.1:9")).unwrap();
    refused(&["list"], "", "it has no store");
    fs::write(&path, config("http://127.0.0.1:9").replacen(STORE, "", 1)).unwrap();
    refused(&["list"], "", "postern.toml:");
}

#[test]
fn a_credential_of_systemds_opens_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("secrets")).unwrap();
    fs::create_dir(at("credentials")).unwrap();
    let keyed = config("http://127.0.0.1:9");
    let path = at("postern.toml");
    fs::write(
        &path,
        keyed.replacen(
            "file = \"secrets/store.key\"",
            "credential = \"store-key\"",
            1,
        ),
    )
    .unwrap();
    // As systemd leaves it: read-only.
    fs::write(at("credentials/store-key"), "ab".repeat(32)).unwrap();
    let set = |with_credentials: bool| {
        let mut command = Command::new(binaries::postern());
        command
            .args(["secrets", "set", "shop", "--config"])
            .arg(&path);
        if with_credentials {
            command.env("CREDENTIALS_DIRECTORY", at("credentials"));
        }
        run(&mut command, FIRST)
    };
    let without = set(false);
    let error = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(
        !without.status.success() && error.contains("--key-file"),
        "{error}"
    );
    said(&set(true));
    fs::write(at("other"), "cd".repeat(32)).unwrap();
    fs::set_permissions(at("other"), fs::Permissions::from_mode(0o600)).unwrap();
    let other = at("other").display().to_string();
    let wrong = secrets(&path, &["remove", "shop", "--key-file", &other], "");
    let error = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(error.contains("does not open it"), "{error}");
}
