//! What an agent finds around itself: its environment, its identity, its file system.

use serde_json::{Value, json};

use crate::fixture::{self, order};

#[test]
fn the_environment_is_the_contracts_and_nothing_of_the_hosts() {
    let tool = fixture::tool();
    let setup = fixture::setup(&tool).variable("HOST_ONLY_VARIABLE", "of-the-host");
    let devbox = setup.start();
    let found = order(&devbox, &json!({"do": "environment"}));
    let expected = json!({
        "AGENT_NAME": "hands", "LLM_MODEL": "fast", "LLM_PROVIDER": "playground",
        "LLM_GATEWAY_URL": "http://127.127.0.1:4180/v1", "OPENAI_BASE_URL": "http://127.127.0.1:4180/v1",
        "OPENAI_API_BASE": "http://127.127.0.1:4180/v1", "ANTHROPIC_BASE_URL": "http://127.127.0.1:4180",
        "OPENAI_API_KEY": "platform-managed", "ANTHROPIC_API_KEY": "platform-managed",
        "TOOL_URL_SHOP": "http://127.127.0.1:4180/tools/shop", "TOOL_NAMES": "shop",
        "GOVERNANCE_URL": "http://127.127.0.1:4180/governance", "USER_ENTRY_POINT": "agent.py",
        "HTTP_PROXY": "http://127.127.0.1:4180", "HTTPS_PROXY": "http://127.127.0.1:4180",
        "http_proxy": "http://127.127.0.1:4180", "https_proxy": "http://127.127.0.1:4180",
        "NO_PROXY": "localhost,127.0.0.1,::1,127.127.0.1", "HOME": "/home/agent",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&found[name], value, "{name}");
    }
    assert!(found["SYSTEM_PROMPT"].is_string());
    let text = found.to_string();
    for absent in ["of-the-host", fixture::KEY, "NOTIFY_SOCKET", "POSTERN"] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
    let routes: Value = serde_json::from_str(found["TOOL_ROUTES_JSON"].as_str().unwrap()).unwrap();
    assert_eq!(
        routes["shop__remove"],
        json!({"tool": "shop", "method": "DELETE", "path": "/items/{id}"})
    );
    let definitions = found["TOOL_DEFINITIONS_JSON"].as_str().unwrap();
    assert!(definitions.contains("shop__add"), "{definitions}");
}

#[test]
fn the_agent_is_somebody_without_power_in_its_own_namespaces() {
    let tool = fixture::tool();
    for setup in [fixture::setup(&tool), fixture::ordinary_setup(&tool)] {
        let devbox = setup.start();
        let identity = order(&devbox, &json!({"do": "identity"}));
        assert_eq!(
            (&identity["uid"], &identity["gid"]),
            (&json!(1000), &json!(1000)),
            "{identity}"
        );
        let status = order(&devbox, &json!({"do": "read", "path": "/proc/self/status"}));
        let status = status.as_str().unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(
                status.contains(&format!("{set}:\t0000000000000000")),
                "{set}: {status}"
            );
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        let own = order(&devbox, &json!({"do": "entries", "path": "/proc/self/ns"}));
        for namespace in own.as_array().unwrap() {
            let name = namespace.as_str().unwrap();
            if name.starts_with("time") {
                continue;
            }
            let argv = json!({"do": "run", "argv": ["readlink", format!("/proc/self/ns/{name}")]});
            let inside = order(&devbox, &argv)["out"]
                .as_str()
                .unwrap()
                .trim()
                .to_owned();
            let outside = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
            assert_ne!(
                inside,
                outside.display().to_string(),
                "{name} is the host's"
            );
        }
    }
}

#[test]
fn the_file_system_is_built_up_and_the_agents_code_is_read_only() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let entries = |path: &str| order(&devbox, &json!({"do": "entries", "path": path}));
    assert_eq!(entries("/agent"), json!(["agent.py", "probe.py"]));
    let top = entries("/").to_string();
    for absent in [
        "\"root\"", "\"boot\"", "\"srv\"", "\"mnt\"", "\"sys\"", "\"work\"",
    ] {
        assert!(!top.contains(absent), "{absent} in {top}");
    }
    let write = |path: &str| order(&devbox, &json!({"do": "write", "path": path, "text": "x"}));
    for refused in [
        "/agent/agent.py",
        "/agent/new.py",
        "/usr/bin/new",
        "/etc/passwd",
        "/new",
    ] {
        assert!(
            write(refused).as_str().unwrap().contains("Error"),
            "{refused}"
        );
    }
    for granted in ["/workspace/a", "/tmp/a", "/home/agent/a"] {
        assert_eq!(write(granted), "written", "{granted}");
    }
    let passwd = order(&devbox, &json!({"do": "read", "path": "/etc/passwd"}));
    assert!(passwd.as_str().unwrap().contains("agent:"), "{passwd}");
    let processes = entries("/proc")
        .as_array()
        .unwrap()
        .iter()
        .filter(|name| {
            name.as_str()
                .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        })
        .count();
    assert!(processes <= 4, "only its own processes: {processes}");
}
