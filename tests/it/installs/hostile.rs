//! Packages that would have code of theirs run while they are fetched, where the credential is.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::OnceLock};

use postern_testkit::{Archive, Ended, Setup, Upstream};
use serde_json::json;

use super::{
    has,
    packages::has_environments,
    setup,
    shelf::{self, Repository},
};

/// Where code that runs would say so.
const RAN: &str = "/ran";

/// What became of an agent that is the package `tiny-agent` of this server.
fn refused(kind: &str, index: &str, server: &Upstream) -> Ended {
    let url = server.url();
    let agent = format!(
        "[agents.desk]\nkind = \"command\"\n\
         source = {{ {kind} = {{ package_name = \"tiny-agent\", registry_url = \"{url}{index}\" }} }}\n\
         [agents.desk.command]\nargv = [\"tiny-agent\"]"
    );
    let setup: Setup = setup(&agent, &url);
    let ended = setup.try_start().err();
    let said: Vec<_> = server
        .requests()
        .into_iter()
        .map(|asked| asked.target)
        .collect();
    assert!(
        !said.iter().any(|target| target == RAN),
        "code of a package ran"
    );
    ended.unwrap_or_else(|| panic!("it was taken: {said:?}"))
}

#[test]
fn an_archive_that_a_wheel_needs_is_not_built() {
    if !has_environments() {
        return;
    }
    // The same bytes each time: a zip has the time in it.
    let files = OnceLock::new();
    let server = Upstream::start(move |request| {
        shelf::for_the_key(request, |asked| {
            let url = format!("http://{}", asked.values("host")[0]);
            if asked.target == "/evil-1.0.tar.gz" {
                return shelf::plain(200, "application/gzip", &built_by_itself(&url));
            }
            let needs = format!("Requires-Dist: evil @ {url}/evil-1.0.tar.gz\n");
            shelf::distribution(
                asked,
                files.get_or_init(|| [(shelf::WHEEL, shelf::wheel("hello", &needs))]),
            )
        })
    });
    let ended = refused("pip", "/simple/", &server);
    let told = "building one would run its code";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
}

/// An archive whose own code is what builds it.
fn built_by_itself(url: &str) -> Vec<u8> {
    const BUILD: &str =
        "[build-system]\nrequires = []\nbuild-backend = \"build\"\nbackend-path = [\".\"]\n";
    let code = format!("import urllib.request\nurllib.request.urlopen(\"{url}{RAN}\")\n");
    Archive::new()
        .file("evil-1.0/pyproject.toml", BUILD)
        .file("evil-1.0/build.py", code)
        .tar_gz()
}

#[test]
fn a_package_out_of_a_repository_is_not_taken() {
    if !has("npm") {
        return;
    }
    let repository = Repository::with(&[("readme", "")]);
    let root = repository.work.path().to_owned();
    let server = Upstream::start(move |request| {
        shelf::for_the_key(request, |asked| {
            if asked.target.starts_with("/repo") {
                return shelf::backend(&root, asked);
            }
            let url = format!("git+http://{}/repo", asked.values("host")[0]);
            let about = json!({
                "name": "tiny-agent", "version": "1.2.3", "dependencies": {"inside": url},
            });
            let archive = Archive::new()
                .file("package/package.json", about.to_string())
                .tar_gz();
            shelf::package(asked, (&about, &archive))
        })
    });
    let url = server.url();
    let work = repository.work.path();
    // Its settings name another git, which is asked for what the repository itself needs.
    let program = format!("#!/bin/sh\ncurl -s {url}{RAN}\nexit 1\n");
    fs::write(work.join("git.sh"), program).unwrap();
    fs::set_permissions(work.join("git.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let about = json!({
        "name": "inside", "version": "1.0.0", "scripts": {"prepare": "true"},
        "dependencies": {"further": format!("git+{url}/repo")},
    });
    let _commit = repository.commit(&[
        (".npmrc", "git=./git.sh\nignore-scripts=false\n"),
        ("package.json", &about.to_string()),
    ]);
    let ended = refused("npm", "/", &server);
    assert!(ended.stderr.contains("`npm` failed"), "{}", ended.stderr);
}
