//! Where the public API is: HTTP/1.1 and HTTP/2 on one port, inside TLS where the config wants it, and on a Unix socket. Asked with
//! curl and openssl as they come.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixListener,
    },
    path::Path,
    process::{Command, Stdio},
};

use nix::unistd::Uid;
use postern_testkit::{Curl, Devbox, Setup, wait};

/// The uid that `postern up` as root gives posternd, which alone reads the key.
const RUNTIME_UID: u32 = 64_100;

const CONFIG: &str = r#"
[listen]
api = "127.0.0.1:0"
operator = "127.0.0.1:0"
@MORE@

[providers.play]
format = "playground"

[models.fast]
provider = "play"
upstream = "play"

[agents.desk]
kind = "builtin"
models = ["fast"]
policies = []
"#;

const TLS: &str = "[listen.tls]\ncertificate = \"api.crt\"\nkey = \"api.key\"\n";

fn setup(more: &str) -> Setup {
    Setup::new(&CONFIG.replace("@MORE@", more))
}

/// A certificate for the address that the tests ask, and its key.
fn certify(folder: &Path, name: &str) {
    let made = Command::new("openssl")
        .current_dir(folder)
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            &format!("/CN={name}"),
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .args(["-keyout", "new.key", "-out", "new.crt"])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    let key = folder.join("new.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    if Uid::effective().is_root() {
        chown(&key, Some(RUNTIME_UID), Some(RUNTIME_UID)).unwrap();
    }
    for file in ["key", "crt"] {
        fs::rename(
            folder.join(format!("new.{file}")),
            folder.join(format!("api.{file}")),
        )
        .unwrap();
    }
}

fn version(curl: &Curl) -> String {
    let output = curl.command().output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn both_versions_of_http_are_spoken_on_one_port() {
    let devbox = setup("").start();
    let url = devbox.api("/healthz");
    let plain = Curl::get(&url).flag("--http1.1");
    assert_eq!(version(&plain), "1.1 200");
    let later = Curl::get(&url).flag("--http2-prior-knowledge");
    assert_eq!(version(&later), "2 200");
}

fn secure(devbox: &Devbox) -> Curl {
    let authority = devbox.folder().join("api.crt");
    let url = devbox.api("/healthz").replace("http://", "https://");
    Curl::get(url)
        .flag("--cacert")
        .flag(authority.to_str().unwrap())
}

#[test]
fn tls_agrees_on_a_version_of_http_and_on_nothing_old() {
    let setup = setup(TLS);
    certify(setup.folder(), "first");
    let devbox = setup.start();
    assert_eq!(version(&secure(&devbox)), "2 200");
    assert_eq!(version(&secure(&devbox).flag("--http1.1")), "1.1 200");
    let older = secure(&devbox).flag("--tls-max").flag("1.2");
    assert_eq!(version(&older), "2 200");
    let address = devbox.api_address().to_string();
    let old = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &address,
            "-tls1_1",
            "-cipher",
            "DEFAULT@SECLEVEL=0",
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!old.status.success(), "{old:?}");
    // Whoever does not speak TLS is told nothing.
    assert_eq!(Curl::get(devbox.api("/healthz")).send().status, 0);
    assert_eq!(version(&secure(&devbox)), "2 200");
}

#[test]
fn a_new_certificate_is_used_and_a_broken_one_is_not() {
    let setup = setup(TLS);
    certify(setup.folder(), "first");
    let devbox = setup.start();
    certify(devbox.folder(), "second");
    wait::until("the new certificate is in use", || {
        (version(&secure(&devbox)) == "2 200").then_some(())
    });
    fs::copy(
        devbox.folder().join("api.crt"),
        devbox.folder().join("kept.crt"),
    )
    .unwrap();
    fs::write(devbox.folder().join("api.crt"), "broken").unwrap();
    wait::until("it is said", || {
        devbox.stderr().contains("stays as it was").then_some(())
    });
    fs::rename(
        devbox.folder().join("kept.crt"),
        devbox.folder().join("api.crt"),
    )
    .unwrap();
    assert_eq!(version(&secure(&devbox)), "2 200");
}

#[test]
fn a_key_that_others_may_read_or_that_is_none_is_refused() {
    for (mode, text) in [(0o644, None), (0o600, Some("no key"))] {
        let setup = setup(TLS);
        certify(setup.folder(), "first");
        let key = setup.folder().join("api.key");
        if let Some(text) = text {
            fs::write(&key, text).unwrap();
        }
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let ended = setup.try_start().err().unwrap();
        assert!(ended.stderr.contains("api.key"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("no key"), "{}", ended.stderr);
    }
}

fn at_socket(devbox: &Devbox) -> Curl {
    let path = devbox.folder().join("state/runtime/api.sock");
    Curl::get("http://postern/healthz")
        .flag("--unix-socket")
        .flag(path.to_str().unwrap())
}

#[test]
fn a_unix_socket_serves_the_same_and_a_dead_one_is_replaced() {
    let more = "api_socket = \"state/runtime/api.sock\"";
    let devbox = setup(more).start();
    assert_eq!(version(&at_socket(&devbox).flag("--http1.1")), "1.1 200");
    let later = at_socket(&devbox).flag("--http2-prior-knowledge");
    assert_eq!(version(&later), "2 200");
    assert_eq!(version(&Curl::get(devbox.api("/healthz"))), "1.1 200");
    let path = devbox.folder().join("state/runtime/api.sock");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let ended = devbox.stop();
    assert!(path.exists());
    let devbox = Setup::again(ended).start();
    assert_eq!(version(&at_socket(&devbox)), "1.1 200");
}

#[test]
fn what_lives_or_is_no_socket_is_not_replaced() {
    let more = "api_socket = \"api.sock\"";
    let setup_with_file = setup(more);
    let path = setup_with_file.folder().join("api.sock");
    fs::write(&path, "kept").unwrap();
    let ended = setup_with_file.try_start().err().unwrap();
    assert!(ended.stderr.contains("api.sock"), "{}", ended.stderr);
    assert_eq!(
        fs::read_to_string(ended.folder.path().join("api.sock")).unwrap(),
        "kept"
    );
    let setup_with_other = setup(more);
    let _other = UnixListener::bind(setup_with_other.folder().join("api.sock")).unwrap();
    assert!(setup_with_other.try_start().is_err());
}
