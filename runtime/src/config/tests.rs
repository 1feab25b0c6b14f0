//! Mistakes in the agents' part of the file, and what people are told.

use super::*;

/// The one agent of a config text; an `a.tar` lies beside it.
pub(crate) fn agent_of(text: &str) -> Arc<Agent> {
    let config = load(text).unwrap();
    let name = config.default_agent.unwrap();
    Arc::clone(&config.agents[&name])
}

pub(super) fn load(text: &str) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.tar"), "x").unwrap();
    let path = directory.path().join("postern.toml");
    std::fs::write(&path, text).unwrap();
    read(&path).map_err(|error| {
        error
            .to_string()
            .replace(&format!("{}/", directory.path().display()), "")
    })
}

fn desk(more: &str) -> String {
    format!(
        "[agents.desk]\nkind = \"python\"\nsource = {{ object = {{ path = \"a.tar\" }} }}\nentry = \"agent.py\"\n{more}\n"
    )
}

#[test]
fn a_whole_agent_has_its_defaults() {
    let agent = agent_of(&desk(""));
    let Kind::Python(python) = &agent.kind else {
        panic!("{:?}", agent.kind)
    };
    assert_eq!(
        (python.files.mount.as_path(), python.entry.as_str()),
        (Path::new("/agent"), "agent.py")
    );
    assert_eq!(agent.max_tool_iterations, TOOL_ITERATIONS_DEFAULT);
    assert_eq!(agent.system_prompt, SYSTEM_PROMPT_DEFAULT);
    assert_eq!(agent.sandbox.wall_time, WALL_TIME_DEFAULT);
}

#[test]
fn limits_of_the_api_that_make_no_sense_are_told() {
    for (limits, told) in [
        (
            "body_max = \"1GiB\"",
            "postern.toml:2:1: say a size from 1B to 4MiB",
        ),
        ("history_max = 10001", "say at most 10000"),
        ("drain_timeout = \"1h\"", "say a time from 1s to 35s"),
        ("body_timeout = \"0s\"", "say a time from 1s to 1h"),
    ] {
        let error = load(&format!("[api]\n{limits}\n{}", desk(""))).unwrap_err();
        assert!(error.contains(told), "{limits}: {error}");
    }
}

#[test]
fn each_mistake_is_told_with_its_place() {
    let cases = [
        (
            "mount = \"/etc/agent\"",
            "postern.toml:5:1: /etc/agent holds something else",
        ),
        ("mount = \"agent\"", "absolute path"),
        ("sandbox = { disk = \"1KiB\" }", "say at least `64KiB`"),
        ("sandbox = { wall_time = \"0s\" }", "from `1ms` to `24h`"),
        ("sandbox = { wall_time = \"2d\" }", "from `1ms` to `24h`"),
        ("runs = { at_once = 0 }", "from 1 to 10000"),
        ("runs = { when_left = \"stay\" }", "`go_on` or `cancel`"),
        (
            "env = { OPENAI_API_KEY = \"x\" }",
            "`OPENAI_API_KEY` is set by Postern",
        ),
        (
            "env = { http_proxy = \"x\" }",
            "`http_proxy` is set by Postern",
        ),
        ("env = { \"A B\" = \"x\" }", "is no variable"),
        (
            "[agents.desk.sandbox]\nusers = 3",
            "postern.toml:6:1: `users` belongs to `isolation = \"user\"`",
        ),
        (
            "[agents.desk.sandbox]\npool = 1",
            "belongs to `isolation = \"run\"` or `\"user\"`",
        ),
        (
            "isolation = \"run\"\n[agents.desk.sandbox]\npool = 1000",
            "from 0 to 64",
        ),
        (
            "isolation = \"user\"\n[agents.desk.sandbox]\nidle = \"9d\"",
            "at most `24h`",
        ),
        ("max_tool_iterations = 0", "from 1 to 1000"),
        ("tools = [\"nope\"]", "there is no tool `nope`"),
        ("colour = \"red\"", "unknown field `colour`"),
        (
            "[agents.desk.sandbox]\nread_only = [\"../x\"]",
            "absolute path without `..`",
        ),
        (
            "[agents.desk.sandbox]\nallow_weaker = [\"separate_uids\"]",
            "separate_uids",
        ),
        (
            "[agents.desk.sandbox]\nrequire = [\"cgroup\"]\nallow_weaker = [\"divert\", \"cgroup\"]",
            "postern.toml:7:1: `cgroup` is in `require` too",
        ),
    ];
    for (line, told) in cases {
        let error = load(&desk(line)).unwrap_err();
        assert!(error.contains(told), "{line}: {error}");
    }
}

#[test]
fn what_a_kind_needs_is_named() {
    for (kind, told) in [
        ("command", "needs `command = { argv"),
        ("http", "needs `http = { argv"),
    ] {
        let error = load(&format!("[agents.a]\nkind = \"{kind}\"\n")).unwrap_err();
        assert!(error.contains(told), "{error}");
    }
    let error = load("[agents.a]\nkind = \"pyhton\"\n").unwrap_err();
    assert!(error.contains("python"), "{error}");
}

#[test]
fn a_missing_archive_is_told_where_it_is_named() {
    let error = load(&desk("").replace("a.tar", "b.tar")).unwrap_err();
    assert!(
        error.contains("postern.toml:3:") && error.contains("no such file"),
        "{error}"
    );
}

#[test]
fn a_builtin_agent_has_a_model_and_no_files() {
    let error = load("[agents.a]\nkind = \"builtin\"\n").unwrap_err();
    assert!(error.contains("needs a model"), "{error}");
    let error = load("[agents.a]\nkind = \"builtin\"\nentry = \"a.py\"\n").unwrap_err();
    assert!(error.contains("leave `entry` out"), "{error}");
    let shared =
        "[providers.p]\nformat = \"playground\"\n[models.m]\nprovider = \"p\"\nupstream = \"u\"\n";
    let agent = "[agents.a]\nkind = \"builtin\"\nmodels = [\"m\"]\nisolation = \"run\"\n";
    let error = load(&format!("{shared}{agent}")).unwrap_err();
    assert!(error.contains("has no sandbox"), "{error}");
}

#[test]
fn a_tool_that_would_be_told_nobody_is_warned_of_unless_runs_have_sandboxes_of_their_own() {
    let tools = "tools = [\"x\"]\n";
    let tool = "[tools.x]\nurl = \"https://x.example\"\nforward_identity = true\n";
    for (isolation, warnings) in [("agent", 1), ("user", 0), ("run", 0)] {
        let text = desk(&format!("isolation = \"{isolation}\"\n{tools}{tool}"));
        assert_eq!(load(&text).unwrap().warnings.len(), warnings, "{isolation}");
    }
}

#[test]
fn a_rule_that_asks_a_human_is_warned_of_unless_runs_have_sandboxes_of_their_own() {
    let rule = "[[policies.p.rules]]\nname = \"big\"\npermission = \"approval_required\"\nresource = \"https://x.example/*\"\n";
    for (isolation, warnings) in [("agent", 1), ("user", 0), ("run", 0)] {
        let text = desk(&format!(
            "isolation = \"{isolation}\"\npolicies = [\"p\"]\n{rule}"
        ));
        let told = load(&text).unwrap().warnings;
        assert_eq!(told.len(), warnings, "{isolation}");
        assert!(
            told.iter().all(|told| told.contains("rule `big`")),
            "{told:?}"
        );
    }
}
