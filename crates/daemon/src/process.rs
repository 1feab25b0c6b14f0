//! What a daemon does to itself before it reads anything secret. Never touches another process.

use std::io;

/// Makes this process non-dumpable: no core file holds a secret, and no other process of the same user can attach to
/// it or read its memory or environment through /proc (prctl(2), PR_SET_DUMPABLE).
///
/// # Errors
/// When the kernel refuses; the daemon must not go on then.
pub fn harden() -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(false)?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn harden_holds() {
        super::harden().unwrap();
        assert!(!nix::sys::prctl::get_dumpable().unwrap());
    }
}
