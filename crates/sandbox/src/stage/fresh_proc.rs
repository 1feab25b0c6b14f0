//! A /proc that knows the sandbox's processes alone, and tells nothing of the machine's keys, memory and devices. Where the
//! kernel refuses one it stays an empty directory; it is never the host's.

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
};
use postern_contract::launch::{Layer, Obstacle};

use crate::ledger::Ledger;

/// Where, relative to the new root.
const PLACE: &str = "proc";

/// Files that tell of the whole machine, as container runtimes hide them: read as empty.
const FILES: [&str; 7] = [
    "kcore",
    "keys",
    "key-users",
    "kallsyms",
    "latency_stats",
    "sched_debug",
    "timer_list",
];

/// Directories about devices and drivers: empty.
const DIRECTORIES: [&str; 7] = ["acpi", "asound", "bus", "driver", "fs", "irq", "scsi"];

/// Mounts it in the root that is being built. Must come in the pid namespace, and before the host's root goes: the
/// kernel wants to see that the launcher could look at a whole /proc anyway.
pub(crate) fn mount_it(ledger: &mut Ledger) -> Result<(), Obstacle> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    match mount(Some("proc"), PLACE, Some("proc"), flags, None::<&str>) {
        Ok(()) => {
            let how = "of the sandbox's own pid namespace; the machine's part hidden";
            ledger.attempt(Layer::FreshProc, how, hide())
        }
        Err(errno) => {
            let why = format!("the kernel refuses a fresh /proc ({errno}), so /proc is empty");
            let fix = "in a container, run it with an unmasked /proc";
            ledger.absent(Obstacle::layer(Layer::FreshProc, why).with_fix(fix))
        }
    }
}

fn hide() -> Result<(), Errno> {
    let nothing = MsFlags::MS_BIND;
    for name in FILES {
        over(name, "dev/null", None, nothing)?;
    }
    let closed = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    for name in DIRECTORIES {
        over(name, "hidden", Some("tmpfs"), closed)?;
    }
    Ok(())
}

fn over(name: &str, what: &str, kind: Option<&str>, flags: MsFlags) -> Result<(), Errno> {
    let place = format!("{PLACE}/{name}");
    match mount(Some(what), place.as_str(), kind, flags, None::<&str>) {
        // Not every kernel has every one.
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}
