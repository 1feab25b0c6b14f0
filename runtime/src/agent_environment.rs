//! What an agent finds in its environment: plain addresses inside its own sandbox and
//! placeholders where an SDK insists on a key. Never a secret, and never anything of this daemon's own environment.

use std::collections::BTreeMap;

use postern_contract::{
    GATE_ADDRESS, GATE_PORT,
    config::Role,
    launch::{AGENT_HOME, TRUSTED, TRUSTED_BY_JAVA, WORKSPACE},
    name::in_environment,
};
use postern_invoke::ToolFunction;
use serde_json::{Map, Value, json};

use crate::{agents::files::Files, config::Agent};

/// What an agent's environment is, whole.
pub type Environment = BTreeMap<String, String>;

/// What SDKs are told instead of a key; the gate drops it and adds the real one.
const PLACEHOLDER_KEY: &str = "platform-managed";

/// Where programs are looked up in the sandbox: system directories alone, never what the daemon's own PATH names.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Hosts that clients must reach without the proxy: the sandbox itself, and the gate's own address.
const NO_PROXY: &str = "localhost,127.0.0.1,::1,127.127.0.1";

/// By which name programs are told whose certificates to trust: OpenSSL, Go and Rust's rustls (the first), Python's
/// requests, Node, curl, git, pip, cargo, the AWS SDKs, Deno and gRPC's core.
const TRUST: &[&str] = &[
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
];

/// What every Java reads, also one that brings a list of its own; it says so on its standard error. What the config sets
/// comes behind ours.
const JAVA: &str = "JAVA_TOOL_OPTIONS";

/// Variables that the config may not set, because Postern does.
const RESERVED: &[&str] = &[
    "SYSTEM_PROMPT",
    "AGENT_NAME",
    "USER_ENTRY_POINT",
    "RUNAGENTS_USER_CODE_DIR",
    "TOOL_NAMES",
    "TOOL_DEFINITIONS_JSON",
    "TOOL_ROUTES_JSON",
    "MAX_TOOL_ITERATIONS",
    "GOVERNANCE_URL",
    "OPENAI_BASE_URL",
    "OPENAI_API_BASE",
    "OPENAI_API_KEY",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_API_KEY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "HOME",
    "PATH",
    "USER",
    "TMPDIR",
];

/// Beginnings of names that the config may not set.
const RESERVED_BEGINNINGS: &[&str] = &["TOOL_URL_", "LLM_", "POSTERN_"];

/// Whether a text can name a variable.
#[must_use]
pub fn is_a_name(text: &str) -> bool {
    let begins = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    begins && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether Postern sets this variable itself; proxies are known in either case.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    RESERVED.contains(&upper.as_str())
        || TRUST.contains(&upper.as_str())
        || RESERVED_BEGINNINGS
            .iter()
            .any(|beginning| upper.starts_with(beginning))
}

/// Whether it is a key that an SDK insists on, for which Postern sets something only where nobody has anything better.
#[must_use]
pub fn is_a_key(name: &str) -> bool {
    matches!(name, "OPENAI_API_KEY" | "ANTHROPIC_API_KEY")
}

/// The environment of an agent, but for what its kind adds.
#[must_use]
pub fn of(agent: &Agent) -> Environment {
    let gate = format!("http://{GATE_ADDRESS}:{GATE_PORT}");
    let mut environment = agent.env.clone();
    let mut set = |name: &str, value: String| drop(environment.insert(name.to_owned(), value));
    set("AGENT_NAME", agent.name.to_string());
    set("SYSTEM_PROMPT", agent.system_prompt.clone());
    set("MAX_TOOL_ITERATIONS", agent.max_tool_iterations.to_string());
    set("GOVERNANCE_URL", format!("{gate}/governance"));
    for name in ["LLM_GATEWAY_URL", "OPENAI_BASE_URL", "OPENAI_API_BASE"] {
        set(name, format!("{gate}/v1"));
    }
    set("ANTHROPIC_BASE_URL", gate.clone());
    set("OPENAI_API_KEY", PLACEHOLDER_KEY.to_owned());
    set("ANTHROPIC_API_KEY", PLACEHOLDER_KEY.to_owned());
    environment.extend(surroundings(&gate));
    set_path(agent, &mut environment);
    environment
        .entry("LANG".to_owned())
        .or_insert_with(|| "C.UTF-8".to_owned());
    let for_java = environment.entry(JAVA.to_owned()).or_default();
    let theirs = std::mem::take(for_java);
    *for_java = format!("-Djavax.net.ssl.trustStore={TRUSTED_BY_JAVA} {theirs}");
    models(agent, &mut environment);
    tools(agent, &gate, &mut environment);
    environment
}

/// The environment of what installs an agent: the same ways out and authorities, a home, and nothing of the agent's own.
#[must_use]
pub fn of_an_install() -> Environment {
    let mut environment = surroundings(&format!("http://{GATE_ADDRESS}:{GATE_PORT}"));
    environment.insert("PATH".to_owned(), PATH.to_owned());
    environment.insert("LANG".to_owned(), "C.UTF-8".to_owned());
    environment
}

/// Where programs are looked up when these directories come first.
#[must_use]
pub fn path_with(first: &[String]) -> String {
    let system = std::iter::once(PATH);
    let all: Vec<_> = first.iter().map(String::as_str).chain(system).collect();
    all.join(":")
}

fn set_path(agent: &Agent, environment: &mut Environment) {
    let commands = agent.kind.files().map(Files::commands);
    let path = path_with(&commands.unwrap_or_default());
    environment.insert("PATH".to_owned(), path);
}

/// What every program in a sandbox is told of its ways out, of whom it may trust and of where it is.
fn surroundings(gate: &str) -> Environment {
    let proxies = [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "http_proxy",
        "https_proxy",
        "ALL_PROXY",
    ];
    let proxies = proxies.map(|name| (name, gate));
    let trust = TRUST.iter().map(|name| (*name, TRUSTED));
    let more = [
        ("NO_PROXY", NO_PROXY),
        ("no_proxy", NO_PROXY),
        ("HOME", AGENT_HOME),
        ("USER", "agent"),
        ("TMPDIR", "/tmp"),
    ];
    let all = proxies.into_iter().chain(trust).chain(more);
    all.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Where an agent's processes start.
#[must_use]
pub fn working_directory() -> &'static str {
    WORKSPACE
}

fn models(agent: &Agent, environment: &mut Environment) {
    let roles = [
        (Role::Chat, ""),
        (Role::Embedding, "_EMBEDDING"),
        (Role::Classify, "_CLASSIFY"),
        (Role::Reranking, "_RERANKING"),
    ];
    for (role, suffix) in roles {
        if let Some(model) = agent.model_for(role) {
            environment.insert(format!("LLM_MODEL{suffix}"), model.name.to_string());
            environment.insert(format!("LLM_PROVIDER{suffix}"), model.format.clone());
        }
    }
}

fn tools(agent: &Agent, gate: &str, environment: &mut Environment) {
    for tool in &agent.tools {
        let variable = format!("TOOL_URL_{}", in_environment(tool.name.as_str()));
        let at_the_gate = || format!("{gate}/tools/{}", tool.name);
        let url = tool.own_url.clone().unwrap_or_else(at_the_gate);
        environment.insert(variable, url);
    }
    let names: Vec<_> = agent.tools.iter().map(|tool| tool.name.as_str()).collect();
    environment.insert("TOOL_NAMES".to_owned(), names.join(","));
    let definitions: Vec<_> = agent.functions().map(definition).collect();
    environment.insert(
        "TOOL_DEFINITIONS_JSON".to_owned(),
        Value::from(definitions).to_string(),
    );
    let routes: Map<_, _> = agent
        .functions()
        .map(|function| (function.name.clone(), route(function)))
        .collect();
    environment.insert(
        "TOOL_ROUTES_JSON".to_owned(),
        Value::from(routes).to_string(),
    );
}

fn definition(function: &ToolFunction) -> Value {
    json!({
        "type": "function",
        "function": {
            "name": function.name,
            "description": function.description,
            "parameters": function.parameters,
        },
    })
}

fn route(function: &ToolFunction) -> Value {
    json!({ "tool": function.tool, "method": function.method, "path": function.path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::agent_of;

    #[test]
    fn the_values_are_those_of_the_contract() {
        let agent = agent_of(
            r#"
            [tools.my-tool]
            url = "https://calc.example"
            capabilities = [{ name = "add", method = "POST", path = "/add" }]
            [providers.local]
            format = "playground"
            [models.fast]
            provider = "local"
            upstream = "playground"
            [models.vectors]
            provider = "local"
            upstream = "v"
            role = "embedding"
            [agents.desk]
            kind = "builtin"
            tools = ["my-tool"]
            models = ["fast", "vectors"]
            system_prompt = "Be brief."
            env = { GREETING = "hello", LANG = "de_DE.UTF-8" }
            "#,
        );
        let environment = of(&agent);
        let expected = [
            ("AGENT_NAME", "desk"),
            ("SYSTEM_PROMPT", "Be brief."),
            ("LLM_GATEWAY_URL", "http://127.127.0.1:4180/v1"),
            ("OPENAI_BASE_URL", "http://127.127.0.1:4180/v1"),
            ("ANTHROPIC_BASE_URL", "http://127.127.0.1:4180"),
            ("OPENAI_API_KEY", "platform-managed"),
            ("LLM_MODEL", "fast"),
            ("LLM_PROVIDER", "playground"),
            ("LLM_MODEL_EMBEDDING", "vectors"),
            ("TOOL_URL_MY_TOOL", "http://127.127.0.1:4180/tools/my-tool"),
            ("TOOL_NAMES", "my-tool"),
            ("MAX_TOOL_ITERATIONS", "10"),
            ("GOVERNANCE_URL", "http://127.127.0.1:4180/governance"),
            ("https_proxy", "http://127.127.0.1:4180"),
            ("HOME", "/home/agent"),
            ("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
            ("DENO_CERT", "/etc/ssl/certs/ca-certificates.crt"),
            ("GREETING", "hello"),
            ("LANG", "de_DE.UTF-8"),
        ];
        for (name, value) in expected {
            assert_eq!(
                environment.get(name).map(String::as_str),
                Some(value),
                "{name}"
            );
        }
        let routes: Value = serde_json::from_str(&environment["TOOL_ROUTES_JSON"]).unwrap();
        assert_eq!(
            routes["my-tool__add"],
            json!({ "tool": "my-tool", "method": "POST", "path": "/add" })
        );
        let definitions: Value =
            serde_json::from_str(&environment["TOOL_DEFINITIONS_JSON"]).unwrap();
        assert_eq!(definitions[0]["function"]["name"], "my-tool__add");
    }

    #[test]
    fn a_tool_without_http_is_named_by_its_own_url() {
        let agent = agent_of(
            "[tools.cache]\nurl = \"tcp://cache.example:6379\"\nprotocol = \"tcp\"\n\
             [agents.a]\nkind = \"python\"\nsource = { object = { path = \"a.tar\" } }\nentry = \"a.py\"\n\
             tools = [\"cache\"]\n",
        );
        let environment = of(&agent);
        let url = environment.get("TOOL_URL_CACHE").map(String::as_str);
        assert_eq!(url, Some("tcp://cache.example:6379"));
    }

    #[test]
    fn what_the_config_tells_java_comes_behind_whom_to_trust() {
        let agent = agent_of(
            "[agents.a]\nkind = \"python\"\nsource = { object = { path = \"a.tar\" } }\nentry = \"a.py\"\n\
             env = { JAVA_TOOL_OPTIONS = \"-Xmx64m\" }\n",
        );
        assert_eq!(
            of(&agent)[JAVA],
            "-Djavax.net.ssl.trustStore=/etc/ssl/certs/java/cacerts -Xmx64m"
        );
    }

    #[test]
    fn everything_set_here_is_reserved_but_what_the_config_may_say_too() {
        let agent = agent_of(
            "[agents.a]\nkind = \"python\"\nsource = { object = { path = \"a.tar\" } }\nentry = \"a.py\"\n",
        );
        for name in of(&agent).keys() {
            let is_free = ["LANG", JAVA].contains(&name.as_str());
            assert!(is_free || is_reserved(name), "{name}");
        }
        for free in [JAVA, "GREETING", "TOOLBOX", "LLMS"] {
            assert!(!is_reserved(free), "{free}");
        }
    }
}
