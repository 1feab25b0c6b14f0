//! Clients that people use, as they come from their registries, against a fake provider behind a real gate. Skipped with a
//! printed reason where they are not installed: `scripts/test --only clients` installs them.

mod oauth;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use postern_testkit::model;
use tokio::task::spawn_blocking;

use crate::house::{self, House};

/// Where `scripts/test` puts clients; why not, if this one is not there.
pub(crate) fn installed(program: &str) -> Result<PathBuf, String> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("../clients")
        .join(program);
    if path.exists() {
        return Ok(path);
    }
    let shown = path.display();
    Err(format!(
        "skipped: {shown} is not installed (scripts/test --only clients)"
    ))
}

/// Runs a client with the address of a gate; what it said, and what the gate wrote of it.
async fn run(client: impl FnOnce(&str) -> Command) -> (Output, House) {
    let model = spawn_blocking(model::start).await.unwrap();
    let house = House::start(&house::models(&model.url(), "")).await;
    let sandbox = house.busy_sandbox().await;
    let mut command = client(&format!("http://{}", sandbox.address));
    let output = spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    // A runtime of its own is in it, which must not end inside this one.
    spawn_blocking(move || drop(model)).await.unwrap();
    (output, house)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_sdks_of_openai_and_anthropic() {
    let python = match installed("python/bin/python") {
        Ok(python) => python,
        Err(why) => return println!("{why}"),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/models.py");
    let (output, house) = run(|gate| {
        let mut command = Command::new(python);
        command.arg(script).arg(gate).env("NO_PROXY", "127.0.0.1");
        command
    })
    .await;
    assert!(output.status.success(), "{output:?}");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    let lines = house.audit();
    let counted = lines
        .iter()
        .filter(|line| line["usage"]["output"] == 5)
        .count();
    assert!(counted >= 9, "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claude_code() {
    let claude = match installed("node/node_modules/.bin/claude") {
        Ok(claude) => claude,
        Err(why) => return println!("{why}"),
    };
    let home = tempfile::tempdir().unwrap();
    let (output, house) = run(|gate| {
        let mut command = Command::new(claude);
        command.args([
            "-p",
            "hi",
            "--model",
            "claude",
            "--output-format",
            "stream-json",
            "--verbose",
        ]);
        command.current_dir(home.path()).env("HOME", home.path());
        command
            .env("ANTHROPIC_BASE_URL", gate)
            .env("ANTHROPIC_API_KEY", "platform-managed");
        command
            .env("ANTHROPIC_SMALL_FAST_MODEL", "claude")
            .env("NO_PROXY", "127.0.0.1");
        command.env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
        command.stdin(std::process::Stdio::null());
        command
    })
    .await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("You said: "), "{said}");
    let asked = house.audit();
    assert!(
        asked.iter().any(|line| line["usage"]["output"] == 5),
        "{asked:?}"
    );
}
