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

#[test]
fn every_command_helps_with_an_example_and_the_hidden_ones_stay_hidden() {
    for command in ["tour", "up", "check", "policy", "audit", "doctor"] {
        let output = postern(&[command, "--help"]);
        assert!(output.status.success(), "{command}");
        let help = text(&output.stdout);
        assert!(
            help.contains(&format!("Example:\n  postern {command}")),
            "{command}: {help}"
        );
    }
    let help = text(&postern(&["--help"]).stdout);
    for hidden in ["runtime", "proxy", "launcher", "unpack", "sweep"] {
        assert!(!help.contains(&format!("\n  {hidden}")), "{hidden}: {help}");
    }
}

#[test]
fn the_thin_executables_are_the_same_programs() {
    for name in ["posternd", "postern-proxy"] {
        let output = Command::new(binaries::find(name))
            .arg("--help")
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}");
        assert!(text(&output.stdout).contains("--config"), "{name}");
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
