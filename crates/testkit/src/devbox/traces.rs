//! What a devbox has left on the machine: processes, mounts, sockets. Never removes anything.
//!
//! Every process of a devbox but the agents' own names its folder on its command line, the launchers and the sandboxes'
//! first processes included; an agent's process cannot outlive the first process of its pid namespace. A namespace
//! lives no longer than its last process and the last descriptor of its sockets.

use std::{
    fs,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

/// Everything that still belongs to the folder, a line each.
#[must_use]
pub fn of(folder: &Path) -> Vec<String> {
    let mut found = processes(folder);
    found.extend(lines_naming("/proc/self/mountinfo", folder, "mount"));
    found.extend(lines_naming("/proc/net/unix", folder, "socket"));
    let mut files = Vec::new();
    socket_files(folder, &mut files);
    found.extend(
        files
            .into_iter()
            .map(|path| format!("socket file {}", path.display())),
    );
    found
}

fn processes(folder: &Path) -> Vec<String> {
    let Ok(list) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mark = folder.display().to_string();
    let own = std::process::id().to_string();
    let pids = list
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    pids.filter(|pid| pid.bytes().all(|b| b.is_ascii_digit()) && *pid != own)
        .filter_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(&mark)
                .then(|| format!("process {pid}: {line}"))
        })
        .collect()
}

fn lines_naming(file: &str, folder: &Path, kind: &str) -> Vec<String> {
    let mark = folder.display().to_string();
    let text = fs::read_to_string(file).unwrap_or_default();
    let named = text.lines().filter(|line| line.contains(&mark));
    named.map(|line| format!("{kind} {line}")).collect()
}

fn socket_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(list) = fs::read_dir(folder) else {
        return;
    };
    for entry in list.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => socket_files(&entry.path(), found),
            Ok(kind) if kind.is_socket() => found.push(entry.path()),
            _ => {}
        }
    }
}
