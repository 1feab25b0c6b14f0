//! Who may depend on whom: the table in ARCHITECTURE.md against what cargo says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use super::{none, root, sources};

type Table = BTreeMap<String, BTreeSet<String>>;

/// The rows of `| room | … | may depend on | …` as short names.
fn permitted() -> Table {
    column(2)
}

/// The column `never`, as it is written.
fn banned() -> Table {
    column(3)
}

fn column(which: usize) -> Table {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let below = text
        .lines()
        .skip_while(|line| !line.starts_with("| room |"))
        .skip(2);
    let rows = below.take_while(|line| line.starts_with("| `"));
    let mut table = Table::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let (room, words) = (cells[0], cells[which]);
        let room = room
            .trim_matches('`')
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap();
        let words = words
            .split(", ")
            .filter(|name| *name != "-")
            .map(str::to_owned)
            .collect();
        table.insert(room.to_owned(), words);
    }
    table
}

/// What each crate of ours really depends on of ours, tests left out.
fn actual() -> Table {
    dependencies(|dependency| dependency["path"].is_string())
}

/// What each crate really depends on, tests left out, as far as it is wanted.
fn dependencies(wanted: impl Fn(&serde_json::Value) -> bool) -> Table {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let edges = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|dependency| dependency["kind"].is_null() && wanted(dependency))
            .map(|dependency| short(&dependency["name"]))
            .collect()
    };
    packages
        .iter()
        .map(|package| (short(&package["name"]), edges(package)))
        .collect()
}

fn short(name: &serde_json::Value) -> String {
    let name = name.as_str().unwrap();
    if name == "postern" {
        "cli".to_owned()
    } else {
        name.trim_start_matches("postern-").to_owned()
    }
}

#[test]
fn every_room_depends_only_on_what_the_map_permits() {
    let (permitted, actual) = (permitted(), actual());
    let rooms: BTreeSet<_> = permitted.keys().collect();
    assert_eq!(
        rooms,
        actual.keys().collect(),
        "the map and the workspace name other rooms"
    );
    let mut strays = Vec::new();
    for (room, edges) in &actual {
        for edge in edges.difference(&permitted[room]) {
            strays.push(format!("{room} depends on {edge}"));
        }
    }
    none(&strays, "dependencies that ARCHITECTURE.md does not permit");
}

/// What the map says a room never has, as far as that is a crate: `tokio` stands for `tokio-rustls` too.
#[test]
fn no_room_depends_on_what_the_map_says_it_never_has() {
    let (banned, all) = (banned(), dependencies(|_| true));
    let mut strays = Vec::new();
    for (room, never) in &banned {
        for edge in &all[room] {
            let first = edge.split('-').next().unwrap();
            if never.contains(edge) || never.contains(first) {
                strays.push(format!("{room} depends on {edge}"));
            }
        }
    }
    none(&strays, "dependencies that ARCHITECTURE.md rules out");
    let held = banned.values().filter(|never| never.contains("tokio"));
    assert!(held.count() >= 5, "{banned:?}");
}

#[test]
fn the_map_permits_nothing_that_nobody_uses() {
    let (permitted, actual) = (permitted(), actual());
    let mut unused = Vec::new();
    for (room, may) in &permitted {
        for edge in may.difference(&actual[room]) {
            unused.push(format!("{room} no longer depends on {edge}"));
        }
    }
    none(&unused, "rows of ARCHITECTURE.md to shorten");
}

/// Crates that must stay free of the outside world, and what betrays it.
#[test]
fn pure_rooms_know_no_socket_and_no_clock() {
    let pure = [
        "crates/contract/",
        "crates/policy/",
        "crates/llm/",
        "crates/invoke/",
    ];
    let outside = [
        "tokio::",
        "hyper::",
        "std::net::Tcp",
        "std::fs",
        "SystemTime",
        "Instant::now",
    ];
    let mut strays = Vec::new();
    for source in sources()
        .iter()
        .filter(|s| pure.iter().any(|room| s.path.starts_with(room)))
    {
        for mark in outside
            .iter()
            .filter(|mark| source.production().contains(**mark))
        {
            strays.push(format!("{}: {mark}", source.path));
        }
    }
    none(&strays, "pure rooms that look outside");
}

/// One kind, one file: the folder's `mod.rs` names every file beside it.
#[test]
fn every_kind_is_registered_in_its_folder() {
    let folders = [
        "runtime/src/agents",
        "runtime/src/source",
        "proxy/src/inject",
        "proxy/src/secret",
        "crates/policy/src/condition",
        "crates/llm/src/format",
    ];
    let mut missing = Vec::new();
    for folder in folders {
        let register = fs::read_to_string(root().join(folder).join("mod.rs"));
        let Ok(register) = register else {
            missing.push(format!("{folder}/mod.rs is not there"));
            continue;
        };
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let Some(kind) = name.strip_suffix(".rs").filter(|kind| *kind != "mod") else {
                continue;
            };
            if !register.contains(&format!("mod {kind};")) {
                missing.push(format!("{folder}/{name}"));
            }
        }
    }
    none(&missing, "kinds that their folder does not name");
}
