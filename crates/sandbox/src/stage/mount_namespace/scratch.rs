//! Directories that the agent may write, each a tmpfs with a size, gone with the sandbox. Never on a disk.

use std::{fs, io};

use nix::mount::{MsFlags, mount};

/// Their names, and their places beneath the root.
pub(crate) const SCRATCH: [&str; 4] = ["tmp", "run", "home", "workspace"];

/// Of the one where programs expect to meet others.
const SHARED_MODE: &str = "1777";

/// Of the others.
const MODE: &str = "755";

/// Files and directories in each.
const INODES_MAX: u32 = 131_072;

/// Mounts them in the working directory, each with room for `bytes`.
pub(super) fn mount_all(bytes: u64) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    for name in SCRATCH {
        let mode = if name == "tmp" { SHARED_MODE } else { MODE };
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
