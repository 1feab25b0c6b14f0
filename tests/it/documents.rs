//! What the documents say about the config: every key and word that the daemons take, and no other. Asks the daemons
//! themselves, by keys that nobody takes; never knows a key by heart.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use postern_testkit::{Setup, binaries};

/// No key and no word of anybody's.
const NOBODYS: &str = "zzz";

/// Where keys can stand: the document, its heading, and a config that has a wrong one there.
const PLACES: &[(&str, &str, &str)] = &[
    ("config", "## The whole file", "zzz = 1"),
    ("config", "## `[listen]`", "[listen]\nzzz = 1"),
    ("config", "### `[listen.tls]`", "[listen.tls]\nzzz = 1"),
    ("config", "## `[callers]`", "[callers]\nzzz = 1"),
    ("config", "### `[callers.jwt]`", "[callers.jwt]\nzzz = 1"),
    ("config", "## `[patience]`", "[patience]\nzzz = 1"),
    ("config", "## `[audit]`", "[audit]\nzzz = 1"),
    ("config", "## `[approvals]`", "[approvals]\nzzz = 1"),
    (
        "config",
        "### `[approvals.approvers.NAME]`",
        "[approvals.approvers.x]\nzzz = 1",
    ),
    ("config", "## `[consent]`", "[consent]\nzzz = 1"),
    ("config", "## `[egress]`", "[egress]\nzzz = 1"),
    ("config", "## `[secrets.NAME]`", "[secrets.x]\nzzz = 1"),
    ("config", "## `[store]`", "[store]\nzzz = 1"),
    (
        "config",
        "### `key` of the store",
        "[store]\npath = \"a\"\nkey = { zzz = 1 }",
    ),
    ("config", "### `vault`", "[secrets.x]\nvault = { zzz = 1 }"),
    ("config", "### `aws`", "[secrets.x]\naws = { zzz = 1 }"),
    (
        "config",
        "### `onepassword`",
        "[secrets.x]\nonepassword = { zzz = 1 }",
    ),
    (
        "config",
        "### `login`",
        "[secrets.x]\nvault = { login = { zzz = 1 } }",
    ),
    ("config", "## `[cache]`", "[cache]\nzzz = 1"),
    ("config", "## `[tools.NAME]`", "[tools.x]\nzzz = 1"),
    (
        "config",
        "### `[[tools.NAME.capabilities]]`",
        "[tools.x]\nurl = \"https://a.b\"\n[[tools.x.capabilities]]\nzzz = 1",
    ),
    (
        "config",
        "### `timeouts`",
        "[tools.x]\nurl = \"https://a.b\"\ntimeouts = { zzz = 1 }",
    ),
    (
        "config",
        "### `limits`",
        "[tools.x]\nurl = \"https://a.b\"\nlimits = { zzz = 1 }",
    ),
    (
        "credentials",
        "### What it costs",
        "[tools.x]\nurl = \"https://a.b\"\nanswers = { zzz = 1 }",
    ),
    (
        "config",
        "### `credential`",
        "[tools.x]\nurl = \"https://a.b\"\ncredential = { kind = \"zzz\" }",
    ),
    (
        "config",
        "### `dummy`",
        "[tools.x]\nurl = \"https://a.b\"\ndummy = { zzz = 1 }",
    ),
    (
        "config",
        "### `tokens`",
        "[tools.x]\nurl = \"https://a.b\"\ntokens = { zzz = 1 }",
    ),
    ("config", "## `[providers.NAME]`", "[providers.x]\nzzz = 1"),
    ("config", "## `[models.NAME]`", "[models.x]\nzzz = 1"),
    ("config", "## `[agents.NAME]`", "[agents.x]\nzzz = 1"),
    ("config", "## `[api]`", "[api]\nzzz = 1"),
    (
        "config",
        "### `[agents.NAME.command]`",
        "[agents.x]\nkind = \"command\"\ncommand = { zzz = 1 }",
    ),
    (
        "config",
        "### `[[agents.NAME.command.map]]`",
        "[agents.x]\nkind = \"command\"\n[[agents.x.command.map]]\nzzz = 1",
    ),
    (
        "config",
        "### `[agents.NAME.http]`",
        "[agents.x]\nkind = \"http\"\nhttp = { zzz = 1 }",
    ),
    (
        "config",
        "### `[agents.NAME.runs]`",
        "[agents.x]\nkind = \"builtin\"\nruns = { zzz = 1 }",
    ),
    (
        "config",
        "### `[agents.NAME.sandbox]`",
        "[agents.x]\nkind = \"builtin\"\n[agents.x.sandbox]\nzzz = 1",
    ),
    (
        "config",
        "### `[agents.NAME.install]`",
        "[agents.x]\nkind = \"builtin\"\n[agents.x.install]\nzzz = 1",
    ),
    ("policy", "## `[policies.NAME]`", "[policies.x]\nzzz = 1"),
    (
        "policy",
        "## `[[policies.NAME.rules]]`",
        "[[policies.x.rules]]\nzzz = 1",
    ),
    (
        "policy",
        "### `graphql`",
        "[[policies.x.rules]]\nname = \"a\"\npermission = \"allow\"\ngraphql = { zzz = 1 }",
    ),
    (
        "policy",
        "### `mcp`",
        "[[policies.x.rules]]\nname = \"a\"\npermission = \"allow\"\nmcp = { zzz = 1 }",
    ),
    (
        "policy",
        "## Words",
        "[[policies.x.rules]]\nname = \"a\"\npermission = \"zzz\"",
    ),
];

/// Words that stand in the text of a document: the document, and a config that has a wrong one.
const WORDS: &[(&str, &str)] = &[
    ("config", "[egress]\nresolve = \"zzz\""),
    ("config", "[egress]\ncredential = { kind = \"zzz\" }"),
    (
        "config",
        "[tools.x]\nurl = \"https://a.b\"\nprotocol = \"zzz\"",
    ),
    ("config", "[tools.x]\nurl = \"https://a.b\"\ntls = \"zzz\""),
    (
        "config",
        "[tools.x]\nurl = \"https://a.b\"\non_rotation = \"zzz\"",
    ),
    (
        "config",
        "[models.x]\nprovider = \"p\"\nupstream = \"u\"\nrole = \"zzz\"",
    ),
    ("config", "[agents.x]\nkind = \"zzz\""),
    (
        "config",
        "[agents.x]\nkind = \"python\"\nsource = { zzz = 1 }",
    ),
    (
        "config",
        "[agents.x]\nkind = \"python\"\nisolation = \"zzz\"",
    ),
    (
        "sources",
        "[agents.x]\nkind = \"python\"\nsource = { object = { zzz = 1 } }",
    ),
    (
        "sources",
        "[agents.x]\nkind = \"python\"\nsource = { git = { zzz = 1 } }",
    ),
    (
        "sources",
        "[agents.x]\nkind = \"python\"\nsource = { npm = { zzz = 1 } }",
    ),
    (
        "sources",
        "[agents.x]\nkind = \"python\"\nsource = { pip = { zzz = 1 } }",
    ),
    (
        "config",
        "[agents.x]\nkind = \"command\"\ncommand = { input = \"zzz\" }",
    ),
    (
        "config",
        "[agents.x]\nkind = \"command\"\ncommand = { output = \"zzz\" }",
    ),
    (
        "config",
        "[agents.x]\nkind = \"command\"\ncommand = { preset = \"zzz\" }",
    ),
    (
        "config",
        "[agents.x]\nkind = \"command\"\ncommand = { map = [{ becomes = \"zzz\" }] }",
    ),
    ("policy", "[policies.x]\nmode = \"zzz\""),
    (
        "policy",
        "[[policies.x.rules]]\nname = \"a\"\npermission = \"allow\"\ngraphql = { operations = [\"zzz\"] }",
    ),
];

fn document(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(format!("docs/{name}.md"))).unwrap()
}

/// What `postern check` would have taken in the place of the wrong word.
fn taken(config: &str) -> BTreeSet<String> {
    let setup = Setup::new(config);
    let output = Command::new(binaries::postern())
        .arg("check")
        .arg(setup.folder().join("postern.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{config}\n{said}");
    let (_, expected) = said
        .rsplit_once("expected")
        .unwrap_or_else(|| panic!("{config}\n{said}"));
    let expected = expected.split("; did you mean").next().unwrap();
    ticked(expected)
}

/// Every second piece between backticks.
fn ticked(text: &str) -> BTreeSet<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// The first column of the tables of one section.
fn documented(text: &str, heading: &str) -> BTreeSet<String> {
    let mut below = text
        .lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .peekable();
    assert!(below.peek().is_some(), "no heading {heading}");
    let section = below.take_while(|line| !line.starts_with('#'));
    let rows = section.filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_key_of_the_config_is_documented_and_no_other() {
    for (name, heading, config) in PLACES {
        assert!(config.contains(NOBODYS));
        let (documented, taken) = (documented(&document(name), heading), taken(config));
        assert_eq!(documented, taken, "docs/{name}.md, {heading}");
    }
}

#[test]
fn every_word_of_the_config_is_documented() {
    for (name, config) in WORDS {
        let text = document(name);
        let missing: Vec<_> = taken(config)
            .into_iter()
            .filter(|word| {
                !text.contains(&format!("`{word}`"))
                    && !text.contains(&format!("{word} ="))
                    && !text.contains(&format!("\"{word}\""))
            })
            .collect();
        assert!(
            missing.is_empty(),
            "docs/{name}.md does not have {missing:?}: {config}"
        );
    }
}

/// The codes of refusals and errors stand in tables of their own, each once with its status.
#[test]
fn every_code_of_the_gate_is_documented_with_its_status() {
    let text = document("api");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/contract/src/refusal.rs");
    let source = fs::read_to_string(source).unwrap();
    let words: Vec<_> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \""))
        .map(|(_, word)| word.trim_end_matches("\","))
        .collect();
    assert!(words.len() > 15, "{words:?}");
    for word in words {
        assert!(
            text.contains(&format!("`{word}`")),
            "docs/api.md does not have {word}"
        );
    }
}

#[test]
fn the_install_document_names_every_file_that_is_shipped() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = document("install");
    let mut shipped = Vec::new();
    files(&root.join("systemd"), &mut shipped);
    assert!(shipped.len() >= 8, "{shipped:?}");
    for path in shipped {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        assert!(
            text.contains(&name),
            "docs/install.md does not install {name}"
        );
    }
    let named = text
        .split_whitespace()
        .filter(|word| word.starts_with("systemd/"));
    for name in named {
        assert!(
            root.join(name).exists(),
            "docs/install.md installs {name}, which is not there"
        );
    }
}

fn files(directory: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Of an example that is a part of a config other parts are missing, but what stands there is what the config has.
#[test]
fn every_example_of_a_config_says_what_a_config_may_say() {
    let mut wrong = Vec::new();
    for (name, example) in examples() {
        let setup = Setup::new(&example);
        let output = Command::new(binaries::postern())
            .arg("check")
            .arg(setup.folder().join("postern.toml"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let odd = [
            "unknown field",
            "unknown variant",
            "invalid type",
            "expected",
        ];
        if odd.iter().any(|odd| said.contains(odd)) {
            wrong.push(format!("{name}: {said}{example}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every block of TOML in the documents, with the document's name; files of other programs say so in their first line.
fn examples() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let documents = fs::read_dir(root.join("docs")).unwrap();
    let documents = documents.map(|entry| entry.unwrap().path());
    let mut found = Vec::new();
    for path in documents.chain([root.join("README.md")]) {
        let text = fs::read_to_string(&path).unwrap();
        let blocks = text.split("```toml\n").skip(1);
        let blocks = blocks.filter_map(|block| block.split("```").next());
        found.extend(
            blocks
                .filter(|block| !block.starts_with("# /"))
                .map(|block| (path.display().to_string(), block.to_owned())),
        );
    }
    assert!(found.len() > 20, "{} examples", found.len());
    found
}
