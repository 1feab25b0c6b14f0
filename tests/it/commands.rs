//! The commands themselves: help with an example, JSON where data is printed, exit codes.

use std::process::{Command, Output};

use postern_testkit::{Setup, binaries};
use serde_json::Value;

use crate::fixture;

fn postern(args: &[&str]) -> Output {
    Command::new(binaries::postern())
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The commands beneath one, as its help lists them.
fn beneath(command: &[&str]) -> Vec<String> {
    let help = text(&postern(&[command, &["--help"]].concat()).stdout);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| line.starts_with("  "));
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names
        .filter(|name| !name.is_empty() && *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_helps_with_an_example_and_the_hidden_ones_stay_hidden() {
    let mut left: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = Vec::new();
    while let Some(command) = left.pop() {
        let words: Vec<_> = command.iter().map(String::as_str).collect();
        let output = postern(&[&words[..], &["--help"]].concat());
        assert!(output.status.success(), "{words:?}");
        let (help, name) = (
            text(&output.stdout),
            ["postern", &words.join(" ")].join(" "),
        );
        let (_, examples) = help.split_once("\nExample").unwrap_or_default();
        let example = format!("  {}", name.trim_end());
        assert!(examples.contains(&example), "{name}: {help}");
        left.extend(beneath(&words).into_iter().map(|below| {
            let below = [below];
            command.iter().chain(&below).cloned().collect()
        }));
        seen.push(words.join(" "));
    }
    seen.sort();
    let expected = [
        "",
        "agents",
        "agents install",
        "agents rollback",
        "approvals",
        "approvals approve",
        "approvals list",
        "approvals reject",
        "approvals revoke",
        "approvals show",
        "audit",
        "audit export",
        "audit verify",
        "check",
        "consents",
        "consents list",
        "consents remove",
        "doctor",
        "logs",
        "pack",
        "policy",
        "policy explain",
        "policy learn",
        "policy test",
        "secrets",
        "secrets list",
        "secrets remove",
        "secrets set",
        "tour",
        "up",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn the_thin_executables_are_the_same_programs() {
    for name in ["posternd", "postern-proxy", "postern-launcher"] {
        let run = |flag| {
            Command::new(binaries::find(name))
                .arg(flag)
                .output()
                .unwrap()
        };
        let help = run("--help");
        assert!(help.status.success(), "{name}");
        assert!(text(&help.stdout).contains("--config"), "{name}");
        let version = run("--version");
        let expected = format!("{name} {}\n", env!("CARGO_PKG_VERSION"));
        assert!(version.status.success(), "{name}");
        assert_eq!(text(&version.stdout), expected);
        let wrong = run("--nonsense");
        assert_eq!(wrong.status.code(), Some(2), "{name}");
        let complaint = text(&wrong.stderr).to_lowercase();
        assert!(complaint.contains("usage"), "{name}: {complaint}");
        assert!(
            !complaint.contains(&format!("{name}: error")),
            "{complaint}"
        );
    }
}

#[test]
fn a_wrong_command_line_is_2() {
    for args in [
        &["nonsense"][..],
        &["up"],
        &["check", "--nonsense", "x"],
        &["proxy"],
        &["runtime"],
        &["launcher"],
        &["policy"],
        &["policy", "explain", "GET"],
        &["audit", "verify"],
    ] {
        let output = postern(args);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{args:?}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn check_prints_the_rules_or_the_mistakes() {
    let setup = fixture::files(Setup::new(&fixture::config("https://shop.example")));
    let config = setup.folder().join("postern.toml").display().to_string();
    let output = postern(&["check", &config]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for word in ["hands", "never remove", "read and add", "shop.example"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let output = postern(&["check", "--json", &config]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["ok"], true);
    assert!(
        told["rules"]
            .as_array()
            .is_some_and(|rules| rules.len() > 3),
        "{told}"
    );

    let wrong = setup.file("wrong.toml", "[agents.x]\nkind = \"builtin\"\n");
    let config = wrong.folder().join("wrong.toml").display().to_string();
    let output = postern(&["check", &config]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("wrong.toml:"),
        "{}",
        text(&output.stderr)
    );
    let output = postern(&["check", "--json", &config]);
    assert_eq!(output.status.code(), Some(2));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["ok"], false);
    assert!(
        told["problems"][0]
            .as_str()
            .unwrap()
            .contains("wrong.toml:"),
        "{told}"
    );
}

#[test]
fn doctor_tells_each_layer() {
    let output = postern(&["doctor", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["works"], true, "{told}");
    let layers = told["layers"].as_array().unwrap();
    let standing = |name: &str| {
        let layer = layers.iter().find(|layer| layer["layer"] == name);
        layer
            .map(|layer| layer["standing"]["state"].clone())
            .unwrap_or_default()
    };
    for layer in [
        "user_namespace",
        "mount_namespace",
        "pid_namespace",
        "net_namespace",
        "no_new_privileges",
    ] {
        assert_eq!(standing(layer), "enforced", "{layer}: {told}");
    }
    let expected = if nix::unistd::geteuid().is_root() {
        ("b", "enforced")
    } else {
        ("c", "absent")
    };
    assert_eq!(
        (told["mode"].as_str(), standing("separate_uid").as_str()),
        (Some(expected.0), Some(expected.1))
    );
    assert!(postern(&["doctor"]).status.success());
}
