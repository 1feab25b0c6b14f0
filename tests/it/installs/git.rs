//! Repositories.

use postern_testkit::Setup;

use super::{AGENT, KEY, answer, setup, shelf::Repository, trees};

fn desk(repository: &Repository, more: &str) -> Setup {
    let url = repository.url();
    let agent = format!(
        "[agents.desk]\nkind = \"python\"\nentry = \"agent.py\"\nsource = {{ git = {{ repository = \"{url}\"{more} }} }}"
    );
    setup(&agent, &url)
}

#[test]
fn a_commit_is_fetched_with_a_credential_that_no_sandbox_has_and_never_again() {
    let repository = Repository::with(&[("agent.py", AGENT), ("word", "one\n")]);
    let commit = repository.commit(&[("word", "two\n")]);
    let devbox = desk(&repository, "").start();
    assert_eq!(answer(&devbox), "two");
    let audit = devbox.audit();
    let fetched = audit.iter().filter(|line| line["stage"] == "fetch").count();
    assert!(fetched >= 2, "{audit:?}");
    assert!(devbox.stderr().contains(&commit), "{}", devbox.stderr());
    let sent = repository.server.requests();
    assert!(
        sent.iter()
            .all(|request| request.values("authorization") == [format!("Bearer {KEY}")])
    );
    // Somebody goes on with the work, and the devbox is started again: it is what it was.
    let _later = repository.commit(&[("word", "three\n")]);
    let devbox = Setup::again(devbox.stop()).start();
    assert_eq!(answer(&devbox), "two");
    assert_eq!(
        repository.server.requests().len(),
        sent.len(),
        "it was asked again"
    );
    let _ended = devbox.stop();
}

#[test]
fn a_tag_a_branch_and_a_part_of_a_commits_number_lead_to_what_they_name() {
    let repository = Repository::with(&[("agent.py", AGENT), ("word", "one\n")]);
    repository.tag("v1");
    let second = repository.commit(&[("word", "two\n")]);
    let _third = repository.commit(&[("word", "three\n")]);
    for (reference, word) in [
        ("v1", "one"),
        (&second[..9], "two"),
        (&second, "two"),
        ("main", "three"),
    ] {
        let devbox = desk(&repository, &format!(", ref = \"{reference}\"")).start();
        assert_eq!(answer(&devbox), word, "{reference}");
        let _ended = devbox.stop();
    }
}

#[test]
fn what_is_not_there_is_told_with_what_git_said() {
    let repository = Repository::with(&[("agent.py", AGENT)]);
    let ended = desk(&repository, ", ref = \"nowhere\"")
        .try_start()
        .err()
        .unwrap();
    assert!(
        ended.stderr.contains("no such branch, tag or commit"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("couldn't find remote ref nowhere"),
        "{}",
        ended.stderr
    );
    assert_eq!(trees(&ended), 0);
}

#[test]
fn setup_makes_a_copy_ready_without_a_credential_and_its_failure_is_told() {
    let repository = Repository::with(&[("agent.py", AGENT), ("word", "one\n")]);
    let url = repository.url();
    let look = format!("curl -s -o /dev/null -w '%{{http_code}}' {url}/info/refs > word");
    let send =
        format!("curl -s -o /dev/null -w ' %{{http_code}}' -d x {url}/git-upload-pack >> word");
    let more =
        format!(", agent_setup = [{look:?}, {send:?}, \"test -d .git && echo ' ready' >> word\"]");
    let devbox = desk(&repository, &more).start();
    // The server asks the first who is there: nobody with a key. The gate refuses the second.
    assert_eq!(
        answer(&devbox).split_whitespace().collect::<Vec<_>>(),
        ["401", "403", "ready"]
    );
    let _ended = devbox.stop();

    let more = ", agent_setup = [\"true\", \"echo so it is >&2; exit 7\", \"touch /agent/never\"]";
    let ended = desk(&repository, more).try_start().err().unwrap();
    for told in ["exit 7", "code 7", "so it is"] {
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
    }
}

#[test]
fn nothing_of_a_repository_runs_while_it_is_fetched() {
    // The filter is named here and defined nowhere; a hook is no part of what is fetched, and none of the system's counts.
    let repository = Repository::with(&[
        ("agent.py", AGENT),
        ("word", "one\n"),
        (".gitattributes", "* filter=evil\n"),
    ]);
    let devbox = desk(&repository, ", submodules = true").start();
    assert_eq!(answer(&devbox), "one");
    let _ended = devbox.stop();
}

#[test]
fn a_module_at_an_odd_place_is_not_fetched() {
    for url in [
        "ext::sh -c touch% /agent/ran",
        "file:///etc",
        "ssh://git.example/x",
    ] {
        let repository = Repository::with(&[("agent.py", AGENT), ("word", "one\n")]);
        repository.module("inside", url);
        let ended = desk(&repository, ", submodules = true").try_start();
        let ended = ended.err().unwrap_or_else(|| panic!("{url} was fetched"));
        assert!(
            ended.stderr.contains("`git` failed"),
            "{url}: {}",
            ended.stderr
        );
        // Without them the rest of it is as good as ever.
        let devbox = desk(&repository, "").start();
        assert_eq!(answer(&devbox), "one", "{url}");
        let _ended = devbox.stop();
    }
}

#[test]
fn a_repository_that_would_have_git_run_something_is_refused_whole() {
    let repository = Repository::with(&[("agent.py", AGENT), ("word", "one\n")]);
    repository.module("inside", "--upload-pack=touch /agent/ran");
    let ended = desk(&repository, "").try_start().err().unwrap();
    let told = "disallowed submodule url";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
}
