//! A /proc that knows the sandbox's processes alone. Where the kernel refuses one it stays an empty directory; it is
//! never the host's.

use nix::mount::{MsFlags, mount};
use postern_contract::launch::{Layer, Obstacle};

use crate::ledger::Ledger;

/// Where, relative to the new root.
const PLACE: &str = "proc";

/// Mounts it in the root that is being built. Must come in the pid namespace, and before the host's root goes: the
/// kernel wants to see that the launcher could look at a whole /proc anyway.
pub(crate) fn mount_it(ledger: &mut Ledger) -> Result<(), Obstacle> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    match mount(Some("proc"), PLACE, Some("proc"), flags, None::<&str>) {
        Ok(()) => {
            ledger.enforced(Layer::FreshProc, "of the sandbox's own pid namespace");
            Ok(())
        }
        Err(errno) => {
            let why = format!("the kernel refuses a fresh /proc ({errno}), so /proc is empty");
            let fix = "in a container, run it with an unmasked /proc";
            ledger.absent(Obstacle::layer(Layer::FreshProc, why).with_fix(fix))
        }
    }
}
