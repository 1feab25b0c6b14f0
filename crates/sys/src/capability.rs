//! Capability sets of this process (capabilities(7)). Never decides which capabilities anybody should have.

use std::io;

use libc::{c_int, c_ulong};
use nix::errno::Errno;

/// Passes by the permission bits of files.
pub const DAC_OVERRIDE: Set = Set(1 << 1);
/// Becomes other users.
pub const SETUID: Set = Set(1 << 7);
/// Makes mounts and namespaces.
pub const SYS_ADMIN: Set = Set(1 << 21);

/// The largest capability number that the kernel's interface has room for.
const NUMBER_MAX: c_ulong = 63;

/// `_LINUX_CAPABILITY_VERSION_3`: 64-bit sets in two halves.
const VERSION: u32 = 0x2008_0522;

/// Some capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set(u64);

impl Set {
    /// None at all.
    pub const EMPTY: Self = Self(0);

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[repr(C)]
struct Header {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Makes the effective and the permitted set this one and the inheritable set empty.
///
/// # Errors
/// `EPERM` when the permitted set lacks one of them.
pub fn keep_only(set: Set) -> io::Result<()> {
    set_halves(set.0, set.0)
}

/// Makes the effective set this one, keeping what is permitted.
///
/// # Errors
/// `EPERM` when the permitted set lacks one of them.
pub fn raise(set: Set) -> io::Result<()> {
    let permitted = halves()?;
    let permitted = u64::from(permitted[0].permitted) | u64::from(permitted[1].permitted) << 32;
    set_halves(set.0, permitted)
}

/// What is effective now.
///
/// # Errors
/// As capget(2) says.
pub fn effective() -> io::Result<Set> {
    let halves = halves()?;
    Ok(Set(
        u64::from(halves[0].effective) | u64::from(halves[1].effective) << 32
    ))
}

/// Empties the bounding and ambient sets and locks the secure bits, so that no later exec gives anything back.
///
/// # Errors
/// `EPERM` without CAP_SETPCAP.
pub fn seal() -> io::Result<()> {
    for number in 0..=NUMBER_MAX {
        match prctl(libc::PR_CAPBSET_DROP, number) {
            // Beyond the last capability that this kernel has.
            Err(Errno::EINVAL) => break,
            other => other?,
        }
    }
    let clear = c_ulong::from(libc::PR_CAP_AMBIENT_CLEAR_ALL.cast_unsigned());
    prctl(libc::PR_CAP_AMBIENT, clear)?;
    let bits = libc::SECBIT_NOROOT
        | libc::SECBIT_NOROOT_LOCKED
        | libc::SECBIT_NO_SETUID_FIXUP
        | libc::SECBIT_NO_SETUID_FIXUP_LOCKED
        | libc::SECBIT_KEEP_CAPS_LOCKED
        | libc::SECBIT_NO_CAP_AMBIENT_RAISE
        | libc::SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
    prctl(libc::PR_SET_SECUREBITS, c_ulong::from(bits.cast_unsigned()))?;
    Ok(())
}

fn prctl(option: c_int, argument: c_ulong) -> Result<(), Errno> {
    let none: c_ulong = 0;
    // NEEDED: nix has no function for these options. SAFETY: all of them take numbers only, no pointer.
    Errno::result(unsafe { libc::prctl(option, argument, none, none, none) }).map(drop)
}

fn halves() -> io::Result<[Half; 2]> {
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut halves = [Half::default(); 2];
    // NEEDED: neither std nor nix has capget. SAFETY: both pointers are to live values of the layout that this version
    // of the interface prescribes.
    let code = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) };
    Errno::result(code)?;
    Ok(halves)
}

fn set_halves(effective: u64, permitted: u64) -> io::Result<()> {
    const LOW: u64 = 0xffff_ffff;
    let half = |shift: u32| Half {
        effective: u32::try_from(effective >> shift & LOW).unwrap_or_default(),
        permitted: u32::try_from(permitted >> shift & LOW).unwrap_or_default(),
        inheritable: 0,
    };
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let halves = [half(0), half(32)];
    // NEEDED: neither std nor nix has capset. SAFETY: both pointers are to live values of the layout that this version
    // of the interface prescribes.
    let code = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) };
    Errno::result(code)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_a_set() {
        assert!(effective().is_ok());
    }

    #[test]
    fn sets_join() {
        assert_eq!(SETUID.and(DAC_OVERRIDE), Set(0b1000_0010));
    }
}
