//! The session keyring of this process (keyrings(7)). Never reads or adds a key.

use std::io;

use libc::{c_long, c_ulong};
use nix::errno::Errno;

/// `KEYCTL_JOIN_SESSION_KEYRING`
const JOIN_SESSION_KEYRING: c_long = 1;

/// Gives this process, and what comes from it, an empty session keyring in place of the one that it inherited.
///
/// # Errors
/// `ENOSYS` where the kernel has no keys, `EDQUOT` where the user has too many.
pub fn join_fresh_session() -> io::Result<()> {
    let nameless: c_ulong = 0;
    // NEEDED: neither std nor nix has keyctl. SAFETY: a null name is allowed and means a fresh keyring.
    let code = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, nameless) };
    Errno::result(code)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_one_can_be_had_where_there_are_keys() {
        // A container may forbid the call; then there is nothing to be had.
        if let Err(error) = join_fresh_session() {
            let errno = error.raw_os_error();
            let known = [libc::ENOSYS, libc::EPERM, libc::EDQUOT].map(Some);
            assert!(known.contains(&errno), "{error}");
        }
    }
}
