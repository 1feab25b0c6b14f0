//! Landlock rules: what the mounts allow, said once more where no mount can be argued with, and nothing that the kernel
//! knows rights for beside it. A second wall behind the mount, pid and network namespaces; never the first, for a kernel
//! may have less of it or none. It says nothing about which ports are connected to: that is the gate's to decide.
//!
//! Connecting to a Unix socket by its path is judged only from Linux 7.1 on (ABI 9); before, `overlay.rs` alone shuts
//! the doors that lie in what is shown.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
    make_bitflags,
};
use postern_contract::launch::{Access, Layer, Obstacle};

use super::mount_namespace::{SCRATCH, SYSTEM};
use crate::{checked::Checked, ledger::Ledger};

/// The newest rights that this code was made with. What a kernel does not have of them is left out, and reported.
const NEWEST: ABI = ABI::V9;

/// The oldest that is of use (Linux 5.19): before, no file could be moved from one directory to another.
const OLDEST: ABI = ABI::V2;

/// The first that keeps signals and abstract sockets within (Linux 6.12).
const SCOPED: ABI = ABI::V6;

/// Programs and what they read.
const LOOK: BitFlags<AccessFs> = make_bitflags!(AccessFs::{Execute | ReadFile | ReadDir});

/// Read, and never run.
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});

/// Devices and what the kernel shows of processes: who may do what is said by each file's own mode.
const SPECIAL: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | IoctlDev});

/// Nobody makes a device, and none is found where files are written.
const NEVER: BitFlags<AccessFs> = make_bitflags!(AccessFs::{MakeChar | MakeBlock | IoctlDev});

/// Confines this process and all that come from it, in the root that is in place. Needs `no_new_privileges` first.
pub(crate) fn apply(checked: &Checked, ledger: &mut Ledger) -> Result<(), Obstacle> {
    match restrict(checked) {
        Ok(status) => {
            ledger.enforced(Layer::Landlock, describe(status.landlock.into()));
            Ok(())
        }
        Err(error) => {
            let why = format!("the kernel's Landlock does not serve: {error}");
            let fix = "it takes Linux 5.19 with `landlock` among the security modules (lsm=)";
            ledger.absent(Obstacle::layer(Layer::Landlock, why).with_fix(fix))
        }
    }
}

fn describe(abi: ABI) -> String {
    if abi >= SCOPED {
        format!("ABI {abi}: files, signals, abstract sockets")
    } else {
        format!("ABI {abi}: files; signals and abstract sockets by their namespaces alone")
    }
}

fn restrict(checked: &Checked) -> Result<RestrictionStatus, RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(OLDEST))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for (path, rights) in rights(checked) {
        // What the host does not have is not there, and nothing needs a rule for it.
        if let Ok(place) = PathFd::new(&path) {
            rules = rules.add_rule(PathBeneath::new(place, rights))?;
        }
    }
    rules.restrict_self()
}

/// What may be done where. Of two that hold each other the sum counts; that the inner is read-only is its mount's to say.
fn rights(checked: &Checked) -> Vec<(PathBuf, BitFlags<AccessFs>)> {
    let system = SYSTEM.iter().map(|path| (PathBuf::from(path), LOOK));
    let own = [
        ("/", AccessFs::ReadDir.into()),
        ("/etc", READ),
        ("/proc", SPECIAL),
        ("/dev", SPECIAL),
        ("/dev/shm", written()),
    ];
    let own = own.map(|(path, rights)| (PathBuf::from(path), rights));
    let scratch = SCRATCH.iter().map(|name| (whole(name), written()));
    let shown = checked.shown.iter().map(|shown| {
        let rights = match shown.access {
            Access::ReadOnly | Access::Image { .. } => LOOK,
            Access::Fresh => written(),
        };
        (whole(&shown.target), rights)
    });
    system.chain(own).chain(scratch).chain(shown).collect()
}

fn written() -> BitFlags<AccessFs> {
    AccessFs::from_all(NEWEST) & !NEVER
}

fn whole(relative: impl AsRef<Path>) -> PathBuf {
    Path::new("/").join(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_never_written_and_no_place_takes_devices() {
        assert!(!LOOK.intersects(AccessFs::from_write(NEWEST)));
        assert!(!READ.contains(AccessFs::Execute));
        assert!(!written().intersects(NEVER));
        assert!(written().contains(AccessFs::Refer));
    }

    #[test]
    fn the_report_says_what_the_kernel_has() {
        assert_eq!(describe(ABI::V7), "ABI 7: files, signals, abstract sockets");
        assert!(describe(ABI::V2).starts_with("ABI 2: files;"));
    }
}
