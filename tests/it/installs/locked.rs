//! Packages by a lock: what is installed has the bytes that the lock says, or nothing is.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postern_testkit::{Archive, Upstream};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

use super::{
    answer, has,
    packages::{desk, has_environments},
    shelf,
};

/// A registry of npm with one package, and what a lock says of its bytes.
fn registry() -> (Upstream, String) {
    let about = json!({"name": "tiny-agent", "version": "1.2.3", "bin": {"tiny-agent": "run.js"}});
    let archive = Archive::new()
        .file("package/package.json", about.to_string())
        .file(
            "package/run.js",
            "#!/usr/bin/env node\nconsole.log('locked')\n",
        )
        .tar_gz();
    let integrity = format!("sha512-{}", STANDARD.encode(Sha512::digest(&archive)));
    let server = Upstream::start(move |request| {
        shelf::for_the_key(request, |asked| shelf::package(asked, (&about, &archive)))
    });
    (server, integrity)
}

fn lock(url: &str, integrity: &str) -> Value {
    json!({
        "name": "desk", "lockfileVersion": 3, "requires": true,
        "packages": {
            "": {"dependencies": {"tiny-agent": "^1.0.0"}},
            "node_modules/tiny-agent": {
                "version": "1.2.3", "resolved": format!("{url}/tiny-agent/-/tiny-agent-1.2.3.tgz"),
                "integrity": integrity, "bin": {"tiny-agent": "run.js"},
            },
        },
    })
}

const NPM: &str = "lock_file = \"package-lock.json\", registry_url = \"{url}/\"";

#[test]
fn npm_takes_what_the_lock_says_and_asks_for_nothing_else() {
    if !has("npm") {
        return;
    }
    let (registry, integrity) = registry();
    let url = registry.url();
    let setup = desk("npm", &NPM.replace("{url}", &url), &url);
    let lock = lock(&url, &integrity).to_string();
    let devbox = setup.file("package-lock.json", lock).start();
    assert_eq!(answer(&devbox), "locked");
    let asked = registry.requests();
    assert!(
        asked.iter().all(|asked| asked.target.ends_with(".tgz")),
        "{asked:?}"
    );
    let _ended = devbox.stop();
}

#[test]
fn npm_installs_nothing_that_is_not_what_the_lock_says() {
    if !has("npm") {
        return;
    }
    let (registry, _) = registry();
    let url = registry.url();
    let setup = desk("npm", &NPM.replace("{url}", &url), &url);
    let other = format!("sha512-{}", STANDARD.encode(Sha512::digest("another")));
    let lock = lock(&url, &other).to_string();
    let ended = setup
        .file("package-lock.json", lock)
        .try_start()
        .err()
        .unwrap();
    assert!(
        ended.stderr.contains("not what `lock_file` says"),
        "{}",
        ended.stderr
    );
    assert_eq!(super::trees(&ended), 0);
}

#[test]
fn pip_takes_what_the_requirements_say_or_nothing() {
    if !has_environments() {
        return;
    }
    let files = [(shelf::WHEEL, shelf::wheel("locked", ""))];
    let digest = hex::encode(Sha256::digest(&files[0].1));
    let index = Upstream::start(move |request| {
        shelf::for_the_key(request, |asked| shelf::distribution(asked, &files))
    });
    let url = index.url();
    let more = format!("lock_file = \"requirements.txt\", registry_url = \"{url}/simple/\"");
    let start = |digest: &str| {
        let line = format!("# by hand\ntiny-agent==1.2 \\\n    --hash=sha256:{digest}\n");
        desk("pip", &more, &url)
            .file("requirements.txt", line)
            .try_start()
    };
    let devbox = start(&digest).ok().unwrap();
    assert_eq!(answer(&devbox), "locked");
    let _ended = devbox.stop();
    let ended = start(&"0".repeat(64)).err().unwrap();
    assert!(
        ended.stderr.contains("not what `lock_file` says"),
        "{}",
        ended.stderr
    );
    assert_eq!(super::trees(&ended), 0);
}

#[test]
fn a_lock_that_leads_elsewhere_is_refused_where_it_stands() {
    let more = "lock_file = \"requirements.txt\"";
    let setup = desk("pip", more, "http://127.0.0.1:1");
    let lines = "tiny-agent @ https://elsewhere.test/x.whl\n";
    let ended = setup
        .file("requirements.txt", lines)
        .try_start()
        .err()
        .unwrap();
    for part in [
        "postern.toml:",
        "requirements.txt: line 1:",
        "no options, URLs or paths",
    ] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}
