//! Whether the daemons' own users will be able to read what they must, said before they start. Asks the modes alone; the
//! daemons' own open calls are what counts.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use toml_edit::{DocumentMut, Item};

use crate::identity::Mode;

/// Read permission among the three bits of a class.
const READ: u32 = 4;

/// Permission to pass through a directory.
const PASS: u32 = 1;

/// Says the first path that a daemon could not read.
///
/// # Errors
/// A line that names the path, the daemon and its uid, and what to do.
pub(super) fn check(mode: Mode, config: &Path, state: &Path) -> Result<(), String> {
    if mode != Mode::Root {
        return Ok(());
    }
    let (runtime, gate) = (
        ("posternd", mode.runtime_uid()),
        ("the gate", mode.gate_uid()),
    );
    let existing = state
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    for daemon in [runtime, gate] {
        readable(config, daemon)?;
        passable(existing, daemon)?;
    }
    let named = Named::read(config);
    for secret in &named.secrets {
        readable(secret, gate)?;
    }
    for source in &named.sources {
        readable(source, runtime)?;
    }
    Ok(())
}

/// The files that the config names, as absolute paths.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    secrets: Vec<PathBuf>,
    sources: Vec<PathBuf>,
}

impl Named {
    /// Both daemons have checked the file's shape before; what is not there is not named.
    fn read(config: &Path) -> Self {
        let text = fs::read_to_string(config).unwrap_or_default();
        let Ok(document) = text.parse::<DocumentMut>() else {
            return Self::default();
        };
        let directory = config.parent().unwrap_or(Path::new("/"));
        let beneath = |table: &str, keys: &[&str]| -> Vec<PathBuf> {
            let tables = document.get(table).and_then(Item::as_table_like);
            let items = tables
                .into_iter()
                .flat_map(|table| table.iter().map(|(_, item)| item));
            let values = items.filter_map(|item| {
                keys.iter()
                    .try_fold(item, |item, key| item.get(key))
                    .and_then(Item::as_str)
            });
            values.map(|path| directory.join(path)).collect()
        };
        let of_store = |keys: &[&str]| {
            let store = document.get("store")?;
            let item = keys.iter().try_fold(store, |item, key| item.get(key))?;
            Some(directory.join(item.as_str()?))
        };
        let mut secrets = beneath("secrets", &["file"]);
        secrets.extend(of_store(&["path"]));
        secrets.extend(of_store(&["key", "file"]));
        Self {
            secrets,
            sources: beneath("agents", &["source", "object", "path"]),
        }
    }
}

fn readable(path: &Path, daemon: (&str, u32)) -> Result<(), String> {
    if let Some(directory) = path.parent() {
        passable(directory, daemon)?;
    }
    let (name, uid) = daemon;
    match fs::metadata(path) {
        Ok(found) if may(&found, uid, READ) => Ok(()),
        Ok(_) => Err(format!(
            "{}: {name} (uid {uid}) may not read this file: give it to that uid with `chown {uid}`, or let others read it \
             unless it is a secret",
            path.display()
        )),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn passable(directory: &Path, (name, uid): (&str, u32)) -> Result<(), String> {
    let closed = directory
        .ancestors()
        .find(|path| !fs::metadata(path).is_ok_and(|found| may(&found, uid, PASS)));
    match closed {
        None => Ok(()),
        Some(path) => Err(format!(
            "{}: {name} (uid {uid}) may not enter this directory: allow it with `chmod o+x`, or keep the files elsewhere",
            path.display()
        )),
    }
}

/// Whether a user whose group has the same number, and who is in no other, has these permissions.
fn may(found: &Metadata, uid: u32, wanted: u32) -> bool {
    let shift = match (found.uid(), found.gid()) {
        (owner, _) if owner == uid => 6,
        (_, group) if group == uid => 3,
        _ => 0,
    };
    (found.mode() >> shift) & wanted == wanted
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOBODY: (&str, u32) = ("the gate", 64_101);

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_closed_directory_and_the_uid_are_named() {
        let top = tempfile::tempdir().unwrap();
        let file = top.path().join("postern.toml");
        fs::write(&file, "").unwrap();
        set_mode(top.path(), 0o700);
        let said = readable(&file, NOBODY).unwrap_err();
        let begin = format!("{}: the gate (uid 64101)", top.path().display());
        assert!(said.starts_with(&begin), "{said}");
        set_mode(top.path(), 0o711);
        assert_eq!(readable(&file, NOBODY), Ok(()));
        set_mode(&file, 0o600);
        assert!(
            readable(&file, NOBODY)
                .unwrap_err()
                .contains("may not read")
        );
    }

    #[test]
    fn secrets_and_sources_are_found_in_either_notation() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("postern.toml");
        let text = "[secrets]\na = { file = \"a.key\" }\nb = { env = \"B\" }\n[secrets.c]\nfile = \"/c.key\"\n\
                    [store]\npath = \"s.store\"\nkey = { file = \"s.key\" }\n[agents.x.source.object]\npath = \"x.tar.gz\"\n";
        fs::write(&config, text).unwrap();
        let named = Named::read(&config);
        assert_eq!(
            named.secrets,
            [
                directory.path().join("a.key"),
                PathBuf::from("/c.key"),
                directory.path().join("s.store"),
                directory.path().join("s.key"),
            ]
        );
        assert_eq!(named.sources, [directory.path().join("x.tar.gz")]);
    }
}
