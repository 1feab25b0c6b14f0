//! Mistakes in the agents' part of the file, and what people are told.

use super::*;

/// The one agent of a config text; an `a.tar` lies beside it.
pub(crate) fn agent_of(text: &str) -> Arc<Agent> {
    let config = load(text).unwrap();
    let name = config.default_agent.unwrap();
    Arc::clone(&config.agents[&name])
}

fn load(text: &str) -> Result<Config, String> {
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
        (python.mount.as_path(), python.entry.as_str()),
        (Path::new("/agent"), "agent.py")
    );
    assert_eq!(agent.max_tool_iterations, TOOL_ITERATIONS_DEFAULT);
    assert_eq!(agent.system_prompt, SYSTEM_PROMPT_DEFAULT);
}

#[test]
fn each_mistake_is_told_with_its_place() {
    let cases = [
        (
            "mount = \"/etc/agent\"",
            "postern.toml:5:1: /etc/agent holds something else",
        ),
        ("mount = \"agent\"", "absolute path"),
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
            "isolation = \"run\"",
            "postern.toml:5:1: `run` is not in this version",
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
    ];
    for (line, told) in cases {
        let error = load(&desk(line)).unwrap_err();
        assert!(error.contains(told), "{line}: {error}");
    }
}

#[test]
fn kinds_and_sources_of_later_versions_are_named() {
    let error = load("[agents.a]\nkind = \"node\"\n").unwrap_err();
    assert!(error.contains("`python` and `builtin` are"), "{error}");
    let text = desk("").replace(
        "object = { path = \"a.tar\" }",
        "git = { repository = \"x\" }",
    );
    let error = load(&text).unwrap_err();
    assert!(
        error.contains("`git` sources are not in this version"),
        "{error}"
    );
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
}
