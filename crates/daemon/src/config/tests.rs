//! Mistakes in config files, and what people are told.

use postern_contract::config::{AgentGrants, Document, Install, Problem};
use postern_contract::{ModelName, PolicyName, ToolName};
use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Agent {
    #[serde(default)]
    tools: Vec<ToolName>,
    #[serde(default)]
    models: Vec<ModelName>,
    #[serde(default)]
    policies: Vec<PolicyName>,
    #[serde(default)]
    install: Install,
}

impl AgentGrants for Agent {
    fn tools(&self) -> &[ToolName] {
        &self.tools
    }

    fn models(&self) -> &[ModelName] {
        &self.models
    }

    fn policies(&self) -> &[PolicyName] {
        &self.policies
    }

    fn install(&self) -> &Install {
        &self.install
    }
}

fn load(text: &str) -> Result<Loaded<Document<Agent>>, ConfigError> {
    let loaded = Source::of_text("postern.toml", text).parse::<Document<Agent>>()?;
    let problems = loaded.document.problems();
    if problems.is_empty() {
        Ok(loaded)
    } else {
        Err(loaded.source.errors(&problems))
    }
}

fn told(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

#[test]
fn an_unknown_key_is_placed_and_the_nearest_offered() {
    let message =
        told("[listen]\napi = \"127.0.0.1:1\"\n\n[tools.x]\nurl = \"http://x\"\nprivte = true\n");
    assert!(
        message.starts_with("postern.toml:6:1: unknown field `privte`"),
        "{message}"
    );
    assert!(message.ends_with("did you mean `private`?"), "{message}");
}

#[test]
fn an_unknown_section_is_placed() {
    let message = told("[agnets.desk]\n");
    assert!(
        message.starts_with("postern.toml:1:2: unknown field `agnets`"),
        "{message}"
    );
    assert!(message.ends_with("did you mean `agents`?"), "{message}");
}

#[test]
fn a_reference_to_nothing_is_placed_at_the_reference() {
    let message = told("[tools.a]\nurl = \"http://x\"\n[agents.desk]\ntools = [\"a\", \"b\"]\n");
    assert_eq!(
        message,
        "postern.toml:4:15: there is no tool `b`: defined are `a`"
    );
}

#[test]
fn several_mistakes_come_in_the_order_of_the_file() {
    let message = told("[agents.x]\nmodels = [\"m\"]\n[agents.y]\npolicies = [\"p\"]\n");
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines.len(), 3, "{message}");
    assert!(lines[0].contains("default_agent"), "{message}");
    assert!(lines[1].starts_with("postern.toml:2:11:"), "{message}");
    assert!(lines[2].starts_with("postern.toml:4:13:"), "{message}");
}

#[test]
fn tools_that_share_an_environment_variable_are_refused() {
    let message = told("[tools.a-b]\nurl = \"http://x\"\n[tools.a_b]\nurl = \"http://y\"\n");
    assert!(message.contains("would both be TOOL_URL_A_B"), "{message}");
}

#[test]
fn a_bad_name_a_bad_type_and_bad_toml_are_one_line_each() {
    for text in [
        "[agents.UPPER]\n",
        "[listen]\napi = 8080\n",
        "[listen\n",
        "x = \"\"\"\nopen",
    ] {
        let message = told(text);
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.starts_with("postern.toml:"), "{message}");
    }
}

#[test]
fn a_problem_at_a_path_that_is_not_there_points_at_its_nearest_part() {
    let source = Source::of_text("postern.toml", "[agents.desk]\nmount = \"/a\"\n");
    let error = source.error_at(&Problem::at(["agents", "desk", "source"], "missing"));
    assert_eq!(error.to_string(), "postern.toml:1:9: missing");
}

/// A daemon's own types for the parts that are ignored above.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SecretSource {
    #[expect(dead_code, reason = "only its name matters here")]
    File(String),
}

#[test]
fn a_secret_at_the_wrong_place_is_not_repeated() {
    let canary = "sk_live_51HxCANARY";
    let texts = [
        format!("[secrets]\nstripe = \"{canary}\"\n"),
        format!(
            "[secrets.a]\nfile = \"x\"\n[tools.x]\nurl = \"u\"\n[secrets.b]\nfile = [\"{canary}\"]\n"
        ),
        format!("[secrets.\"{canary}\"]\nfile = \"x\"\n"),
        format!("[secrets]\nstripe = \"x` \\\" {canary} ` y\"\n"),
        format!("[secrets]\nstripe = {{ file = [\"{canary}, expected x\"] }}\n"),
        format!(
            "[tools.x]\nurl = \"http://x\"\ncredential = {{ file = {{ key = \"{canary}\" }} }}\n"
        ),
    ];
    for text in texts {
        let loaded =
            Source::of_text("postern.toml", &text)
                .parse::<Document<Agent, SecretSource, SecretSource>>();
        let message = loaded.unwrap_err().to_string();
        assert!(!message.contains(canary), "{message}");
        assert!(message.starts_with("postern.toml:"), "{message}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = read::<Document<Agent>>(Path::new("/nonexistent/postern.toml")).unwrap_err();
    assert!(
        error.to_string().starts_with("/nonexistent/postern.toml: "),
        "{error}"
    );
}
