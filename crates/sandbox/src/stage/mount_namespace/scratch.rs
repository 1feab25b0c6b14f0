//! Directories that the agent may write, each a tmpfs with a size, gone with the sandbox. Never on a disk.

use std::{fs, io};

use nix::mount::{MsFlags, mount};

/// Name, mode.
const SCRATCH: [(&str, &str); 4] = [
    ("tmp", "1777"),
    ("run", "755"),
    ("home", "755"),
    ("workspace", "755"),
];

/// Files and directories in each.
const INODES_MAX: u32 = 131_072;

/// Mounts them in the working directory, each with room for `bytes`.
pub(super) fn mount_all(bytes: u64) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    for (name, mode) in SCRATCH {
        let options = format!("mode={mode},size={bytes},nr_inodes={INODES_MAX}");
        fs::create_dir(name)?;
        mount(
            Some(name),
            name,
            Some("tmpfs"),
            flags,
            Some(options.as_str()),
        )?;
    }
    fs::create_dir("home/agent")
}
