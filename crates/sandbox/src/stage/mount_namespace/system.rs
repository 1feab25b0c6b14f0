//! The host's programs and libraries, read-only and without set-user-id. Never shows /etc, /var, /home or /root.

use std::{fs, io, os::unix::fs::symlink, path::Path};

use postern_sys::mount::Attributes;

use super::{overlay::Overlays, tree::bind_if_there};

/// What is shown, where the host has it. Where /bin is a link into /usr, it is one inside too.
pub(crate) const DIRECTORIES: [&str; 8] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt",
];

/// Shows the system directories in the working directory.
pub(super) fn show(overlays: &mut Overlays<'_>) -> io::Result<()> {
    for host in DIRECTORIES.map(Path::new) {
        let is_link = host.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
        match host.file_name() {
            Some(name) if is_link => symlink(fs::read_link(host)?, name)?,
            Some(name) if bind_if_there(overlays.root(), host, Attributes::READ_ONLY)? => {
                overlays.cover(Path::new(name));
            }
            _ => {}
        }
    }
    Ok(())
}
