//! What a daemon does to itself before it reads anything secret. Never touches another process.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Makes this process non-dumpable: no core file holds a secret, and no other process of the same user can attach to
/// it or read its memory or environment through /proc (prctl(2), PR_SET_DUMPABLE). What it starts can be looked into again,
/// so core files are forbidden to that by the limit.
///
/// # Errors
/// When the kernel refuses; the daemon must not go on then.
pub fn harden() -> io::Result<()> {
    nix::sys::prctl::set_dumpable(false)?;
    // A unit with `LimitCORE=0` has done this, and its filter of system calls may forbid it.
    if getrlimit(Resource::RLIMIT_CORE)? != (0, 0) {
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    }
    Ok(())
}

/// Raises the soft limit of open files to the hard one, and returns it: a served connection is two descriptors, and the
/// usual soft limit of 1024 is meant for programs that use select(2).
///
/// # Errors
/// When the kernel refuses; the limit stays as it was.
pub fn allow_many_descriptors() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let hard = super::allow_many_descriptors().unwrap();
        assert_eq!(
            super::getrlimit(super::Resource::RLIMIT_NOFILE).unwrap(),
            (hard, hard)
        );
    }

    #[test]
    fn harden_holds() {
        super::harden().unwrap();
        assert!(!nix::sys::prctl::get_dumpable().unwrap());
        assert_eq!(
            super::getrlimit(super::Resource::RLIMIT_CORE).unwrap(),
            (0, 0)
        );
        // A second one finds nothing to do.
        super::harden().unwrap();
    }
}
