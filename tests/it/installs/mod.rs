//! Agents out of repositories and registries, through the whole devbox: what is fetched, by whom, with which credential, what runs
//! meanwhile, and what is left when it fails. The git, npm and pip are the system's own.

mod awaited;
mod git;
mod hostile;
mod images;
mod killed;
mod locked;
mod objects;
mod packages;
mod shared;
mod shelf;
mod way_back;

use postern_testkit::{Archive, Devbox, Ended, Setup};

use crate::fixture;

/// The credential of the tool `source`.
const KEY: &str = "install-key-that-no-sandbox-may-see-0123456789";

/// A handler that answers with what a file beside it says.
const AGENT: &str = "import os\n\ndef handler(request):\n    here = os.path.dirname(__file__)\n    \
                     return open(os.path.join(here, 'word')).read().strip()\n";

/// A devbox to be whose one agent comes from `source`; its fetch may call everything at `url` with the credential, its setup
/// may look at the same place.
fn setup(agent: &str, url: &str) -> Setup {
    let config = format!(
        r#"
[listen]
api = "127.0.0.1:0"
operator = "127.0.0.1:0"

[secrets.source]
file = "secrets/source.key"

[tools.source]
url = "{url}/"
credential = {{ kind = "bearer", secret = "source" }}
private = true

[[policies.fetching.rules]]
name = "fetch"
permission = "allow"
resource = "{url}/*"

[[policies.looking.rules]]
name = "look"
permission = "allow"
resource = "{url}/*"

[agents.desk.install]
tools = ["source"]
fetch = ["fetching"]
setup = ["looking"]

{agent}
"#
    );
    let setup = Setup::new(&config).secret("secrets/source.key", KEY);
    // Every agent has an archive beside its config, needed or not.
    let setup = setup.file(
        "desk.tar.gz",
        Archive::new().file("agent.py", AGENT).tar_gz(),
    );
    let setup = setup.variable("POSTERN_LOG", "info");
    if fixture::runs_as_root() {
        return setup;
    }
    setup.flag("--allow-weaker").flag("separate_uid")
}

/// What the agent answers.
fn answer(devbox: &Devbox) -> String {
    let answer = devbox.invoke("hello");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["response"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// How many trees of the agent are on the disk, whole or begun.
fn trees(ended: &Ended) -> usize {
    let agents = ended.folder.path().join("state/runtime/agents");
    let directories = |versions: &str| {
        let entries = std::fs::read_dir(agents.join(versions))
            .into_iter()
            .flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    // What agents share counts once: as the agent's, whose symlink leads there.
    let shared = directories(".cache/versions").into_iter();
    let begun = shared.filter(|tree| tree.to_string_lossy().contains(".staging-"));
    directories("desk/versions").len() + begun.count()
}

/// Whether a program is where sandboxes look for it; says that the test is skipped otherwise.
fn has(program: &str) -> bool {
    let found = ["/usr/local/bin", "/usr/bin", "/bin"]
        .iter()
        .any(|directory| std::path::Path::new(directory).join(program).exists());
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}
