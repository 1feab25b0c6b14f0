//! Every config that is shipped as an example is one that `postern check` takes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use postern_testkit::{Archive, Setup, binaries};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn configs(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            configs(&path, found);
        } else if path.extension().is_some_and(|end| end == "toml")
            && !path.ends_with("launcher.toml")
        {
            found.push(path);
        }
    }
}

#[test]
fn postern_check_takes_each_of_them() {
    let mut found = Vec::new();
    configs(&root().join("examples"), &mut found);
    configs(&root().join("systemd"), &mut found);
    assert!(found.len() >= 3, "{found:?}");
    for path in found {
        let archive = Archive::new()
            .file("agent.py", "def handler(request): return 'x'")
            .tar_gz();
        let staged = Setup::new(&fs::read_to_string(&path).unwrap())
            .file("support-desk.tar.gz", archive)
            .secret("secrets/orders.key", "a-key-that-opens-nothing-at-all");
        let output = Command::new(binaries::postern())
            .arg("check")
            .arg(staged.folder().join("postern.toml"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", path.display());
    }
}

#[test]
fn the_agent_of_a_fresh_install_answers() {
    let text = fs::read_to_string(root().join("systemd/postern.toml")).unwrap();
    let anywhere = text
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("127.0.0.1:8092", "127.0.0.1:0");
    let devbox = Setup::new(&anywhere).start();
    let answer = devbox.invoke("Are you there?");
    assert_eq!(answer.status, 200, "{answer:?}");
    let said = answer.json()["response"].to_string();
    assert!(said.contains("Are you there?"), "{answer:?}");
}

#[test]
fn the_pack_script_makes_what_the_config_names() {
    let desk = root().join("examples/support-desk");
    let read = |path: &str| fs::read(desk.join(path)).unwrap();
    let copy = Setup::new("")
        .file("desk/pack", read("pack"))
        .file("desk/agent/agent.py", read("agent/agent.py"))
        .file("desk/agent/probe.py", read("agent/probe.py"));
    let packed = Command::new("sh")
        .arg(copy.folder().join("desk/pack"))
        .output()
        .unwrap();
    assert!(packed.status.success(), "{packed:?}");
    let listed = Command::new("tar")
        .arg("tf")
        .arg(copy.folder().join("desk/support-desk.tar.gz"))
        .output()
        .unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        listed.contains("agent.py") && listed.contains("probe.py"),
        "{listed}"
    );
}
