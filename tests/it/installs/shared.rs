//! Agents with the same files are shown one tree, which none of them can change, whatever it tries; and what no agent has any
//! more is there for the next one.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use postern_testkit::{Archive, Curl, Devbox, Setup};

use crate::fixture;

/// Answers with a word of its files; told to spoil them, it tries with all that it sees.
const SPOILER: &str = r#"
import os

HERE = os.path.dirname(os.path.abspath(__file__))

def spoil(path):
    for way in (lambda: open(path, "w").write("spoilt"), lambda: os.chmod(path, 0o777), lambda: os.unlink(path),
                lambda: os.rename(path, path + ".gone"), lambda: os.truncate(path, 0), lambda: os.utime(path, (1, 1)),
                lambda: os.mkdir(path + ".new"), lambda: os.symlink("/etc/passwd", path + ".link")):
        try:
            way()
        except OSError:
            pass

def handler(request):
    if request["message"] == "spoil":
        for directory, directories, files in os.walk(HERE, topdown=False):
            for name in files + directories:
                spoil(os.path.join(directory, name))
        spoil(HERE)
        return "tried"
    return open(os.path.join(HERE, "deep", "word")).read().strip()
"#;

fn agent(name: &str, object: &str) -> String {
    format!(
        "[agents.{name}]\nkind = \"python\"\nentry = \"agent.py\"\nsource = {{ object = {{ path = \"{object}\" }} }}\n"
    )
}

fn config(agents: &[(&str, &str)], cache: &str) -> String {
    let agents: Vec<_> = agents
        .iter()
        .map(|(name, object)| agent(name, object))
        .collect();
    format!(
        "default_agent = \"desk\"\n[listen]\napi = \"127.0.0.1:0\"\noperator = \"127.0.0.1:0\"\n[cache]\n{cache}\n{}",
        agents.concat()
    )
}

fn archive(word: &str) -> Vec<u8> {
    let archive = Archive::new().file("agent.py", SPOILER);
    archive.file("deep/word", word).tar_gz()
}

fn devbox(setup: Setup) -> Devbox {
    let setup = setup.variable("POSTERN_LOG", "info");
    match fixture::runs_as_root() {
        true => setup.start(),
        false => setup.flag("--allow-weaker").flag("separate_uid").start(),
    }
}

fn answer(devbox: &Devbox, agent: &str, message: &str) -> String {
    let url = devbox.api(&format!("/agents/{agent}/invoke"));
    let answer = Curl::post(url, format!(r#"{{"message": "{message}"}}"#)).send();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["response"].as_str().unwrap().to_owned()
}

fn shelf(state: &Path) -> PathBuf {
    state.join("runtime/agents/.cache/versions")
}

/// Everything beneath a directory with what it is, byte for byte.
fn all(directory: &Path) -> Vec<(PathBuf, u32, i64, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let about = fs::symlink_metadata(&path).unwrap();
        let content = match about.is_file() {
            true => fs::read(&path).unwrap(),
            false => Vec::new(),
        };
        found.push((path.clone(), about.mode(), about.mtime(), content));
        if about.is_dir() {
            found.extend(all(&path));
        }
    }
    found.sort();
    found
}

fn trees(state: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(shelf(state)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_dir()).collect()
}

#[test]
fn what_agents_share_is_the_same_whatever_one_of_them_tries() {
    let agents = [("desk", "one.tar.gz"), ("clerk", "one.tar.gz")];
    let setup = Setup::new(&config(&agents, "")).file("one.tar.gz", archive("one\n"));
    let devbox = devbox(setup);
    let shared = trees(&devbox.state());
    assert_eq!(shared.len(), 1, "{shared:?}");
    let said = devbox.stderr();
    assert_eq!(
        said.matches("installed from the cache").count(),
        1,
        "{said}"
    );
    let before = all(&shared[0]);
    assert_eq!(answer(&devbox, "desk", "spoil"), "tried");
    assert_eq!(answer(&devbox, "clerk", "hello"), "one");
    assert_eq!(all(&shared[0]), before);
    let devbox = self::devbox(Setup::again(devbox.stop()));
    for agent in ["desk", "clerk"] {
        assert_eq!(answer(&devbox, agent, "hello"), "one");
    }
    assert_eq!(all(&shared[0]), before);
    let _ended = devbox.stop();
}

#[test]
fn an_agent_that_comes_back_finds_its_files_and_what_is_too_much_goes() {
    let setup = |ended: Option<postern_testkit::Ended>, agents: &[(&str, &str)], cache: &str| {
        let config = config(agents, cache);
        let setup = match ended {
            None => Setup::new(&config),
            Some(ended) => Setup::again(ended).file("postern.toml", &config),
        };
        devbox(
            setup
                .file("one.tar.gz", archive("one\n"))
                .file("two.tar.gz", archive("two\n")),
        )
    };
    let both = [("desk", "one.tar.gz"), ("clerk", "two.tar.gz")];
    let devbox = setup(None, &both, "");
    assert_eq!(trees(&devbox.state()).len(), 2);
    // The clerk's directory goes with the clerk, as when somebody deletes it by hand; the shared tree stays.
    let ended = devbox.stop();
    fs::remove_dir_all(ended.folder.path().join("state/runtime/agents/clerk")).unwrap();
    let devbox = setup(Some(ended), &both[..1], "max = \"1GiB\"");
    assert_eq!(trees(&devbox.state()).len(), 2);
    let devbox = setup(Some(devbox.stop()), &both, "");
    assert_eq!(answer(&devbox, "clerk", "hello"), "two");
    let said = devbox.stderr();
    assert!(said.contains("installed from the cache"), "{said}");
    let ended = devbox.stop();
    fs::remove_dir_all(ended.folder.path().join("state/runtime/agents/clerk")).unwrap();
    let devbox = setup(Some(ended), &both[..1], "max = \"0B\"");
    assert_eq!(trees(&devbox.state()).len(), 1);
    assert_eq!(answer(&devbox, "desk", "hello"), "one");
    let _ended = devbox.stop();
}

#[test]
fn a_tree_that_somebody_changed_is_made_anew_where_that_is_looked_for() {
    const CHANGED: &str = "is not what it was when it was made";
    let agents = [("desk", "one.tar.gz"), ("clerk", "one.tar.gz")];
    let setup = Setup::new(&config(&agents, "check = true")).file("one.tar.gz", archive("one\n"));
    let ended = devbox(setup).stop();
    assert!(!ended.stderr.contains(CHANGED), "{}", ended.stderr);
    let shared = trees(&ended.folder.path().join("state"));
    fs::write(shared[0].join("deep/word"), "two\n").unwrap();
    let devbox = devbox(Setup::again(ended));
    for agent in ["desk", "clerk"] {
        assert_eq!(answer(&devbox, agent, "hello"), "one");
    }
    let said = devbox.stderr();
    assert_eq!(said.matches(CHANGED).count(), 1, "{said}");
    let devbox = self::devbox(Setup::again(devbox.stop()));
    assert!(!devbox.stderr().contains(CHANGED), "{}", devbox.stderr());
    let _ended = devbox.stop();
}
