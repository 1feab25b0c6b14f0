//! Limits of memory, processes and CPU by cgroup, for everything in the sandbox together, its files in memory included.
//! In the trees of version 2 or 1, whatever the host delegates: as root beneath the launcher's own group, as an ordinary
//! user where the group is theirs. Never moves a process that is not ours, and never changes a limit of the host's.
//!
//! ```text
//! launcher, still on the host ── make ──▶ Group       a directory in each tree, limits written, locked
//!                                    └──▶ Entrance    its doors and counters, as descriptors
//! janitor, on the host to the end ◀── Group           removes it when the sandbox has ended; sweeps left-over ones
//! init ◀── Entrance ── join ──▶ Events                before it gives up its rights; what is counted is told at each exit
//! ```

mod events;
mod group;
mod hosts;

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use nix::{
    sys::sysinfo::sysinfo,
    unistd::{AccessFlags, access, getpid},
};
use postern_contract::launch::{Hit, Layer, Obstacle};

pub(crate) use self::events::Events;
use self::{group::Group as Place, hosts::Host};
use crate::{
    checked::{Bounds, Checked},
    ledger::{Ledger, stops},
};

/// The period over which CPU time is counted, in microseconds.
const PERIOD_US: u64 = 100_000;

/// The sandbox's weight where CPU or disk are scarce: half of what a daemon has.
const WEIGHT: &str = "50";
const SHARES: &str = "512";

/// Of the machine's memory, what a sandbox gets that asks for nothing, in quarters.
const MEMORY_QUARTERS: u64 = 3;

/// Room for what /proc says of groups and mounts, in bytes; more is read in pieces.
const PROC_BYTES: usize = 16 * 1024;

/// Where the launcher itself goes if its own group is to hold others: the kernel lets no group have both.
const LEAF: &str = "launcher";

/// A sandbox's group, whose holder removes it in the end.
#[derive(Debug)]
pub(crate) struct Group(Vec<Place>);

/// The way into the group, for the sandbox's init.
#[derive(Debug)]
pub(crate) struct Entrance {
    doors: Vec<File>,
    events: Events,
    how: String,
}

impl Group {
    /// Removes it, once what is in it has ended.
    pub(crate) fn remove(&self) {
        self.0.iter().for_each(Place::remove);
    }

    /// Removes what launchers left that were killed.
    pub(crate) fn sweep(&self) {
        self.0.iter().for_each(Place::sweep);
    }
}

/// Makes the sandbox's group, if the host delegates one; writes down why not otherwise. Must come while the process
/// still has the host's files before it and whatever rights it was started with.
pub(crate) fn make(
    checked: &Checked,
    ledger: &mut Ledger,
) -> Result<Option<(Group, Entrance)>, Obstacle> {
    match try_make(checked) {
        Ok(made) => Ok(Some(made)),
        Err(error) => {
            let why = format!("no cgroup for the sandbox: {error}");
            let fix = "delegate one: `Delegate=yes` in a unit, or `systemd-run --user --scope -p Delegate=yes`";
            ledger
                .absent(Obstacle::layer(Layer::Cgroup, why).with_fix(fix))
                .map(|()| None)
        }
    }
}

/// Joins the group, for good: its tree is out of reach of whatever comes from this process.
pub(crate) fn join(entrance: Option<Entrance>, ledger: &mut Ledger) -> Result<Events, Obstacle> {
    let Some(Entrance { doors, events, how }) = entrance else {
        return Ok(Events::default());
    };
    for mut door in doors {
        door.write_all(b"0")
            .map_err(stops(Layer::Cgroup, "cannot join the sandbox's cgroup"))?;
    }
    ledger.enforced(Layer::Cgroup, how);
    Ok(events)
}

fn try_make(checked: &Checked) -> io::Result<(Group, Entrance)> {
    let hosts = hosts::hosts(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?);
    let unified = hosts.iter().find(|host| host.is_unified());
    let mut making = Making::new(checked)?;
    let made = match unified.filter(|host| offers(&host.own, "cgroup.controllers")) {
        Some(host) => making.unified(host),
        None => making.by_controller(&hosts),
    };
    let Making {
        group, entrance, ..
    } = making;
    match made {
        Ok(()) => Ok((group, entrance)),
        Err(error) => {
            group.remove();
            Err(error)
        }
    }
}

/// Whether a file of a group names the controllers without which there is no use for it.
fn offers(group: &Path, file: &str) -> bool {
    let text = fs::read_to_string(group.join(file)).unwrap_or_default();
    let has = |wanted: &str| text.split_whitespace().any(|name| name == wanted);
    has("memory") && has("pids")
}

struct Making<'a> {
    sandbox: &'a str,
    bounds: &'a Bounds,
    memory: u64,
    group: Group,
    entrance: Entrance,
}

impl<'a> Making<'a> {
    fn new(checked: &'a Checked) -> io::Result<Self> {
        let bounds = &checked.bounds;
        let memory = bounds.memory_bytes.map_or_else(most_of_memory, Ok)?;
        let mut how = format!("{memory} bytes of memory, {} processes", bounds.processes);
        if let Some(percent) = bounds.cpu_percent {
            how.push_str(&format!(", {percent} % of a CPU"));
        }
        Ok(Self {
            sandbox: checked.sandbox.as_str(),
            bounds,
            memory,
            group: Group(Vec::new()),
            entrance: Entrance {
                doors: Vec::new(),
                events: Events::default(),
                how,
            },
        })
    }

    /// In the one tree of version 2.
    fn unified(&mut self, host: &Host) -> io::Result<()> {
        let place = self.place(&delegated(host)?)?;
        place.set("memory.max", &self.memory.to_string())?;
        place.set("pids.max", &self.bounds.processes.to_string())?;
        if let Some(percent) = self.bounds.cpu_percent {
            place.set("cpu.max", &format!("{} {PERIOD_US}", quota(percent)))?;
        }
        // Where there is no swap, no disk scheduler with weights or no CPU controller, there is nothing to set.
        for (file, value) in [
            ("memory.swap.max", "0"),
            ("cpu.weight", WEIGHT),
            ("io.weight", WEIGHT),
        ] {
            let _preferred = place.set(file, value);
        }
        let events = &mut self.entrance.events;
        events.count(Hit::Memory, place.open("memory.events")?, "oom_kill");
        events.count(Hit::Processes, place.open("pids.events")?, "max");
        self.keep(place)
    }

    /// In the trees of version 1, one for each controller or some of them.
    fn by_controller(&mut self, hosts: &[Host]) -> io::Result<()> {
        let mut missing = vec!["memory", "pids"];
        if self.bounds.cpu_percent.is_some() {
            missing.push("cpu");
        }
        for host in hosts.iter().filter(|host| !host.is_unified()) {
            let has = |name: &str| host.controllers.iter().any(|controller| controller == name);
            if !["memory", "pids", "cpu"].into_iter().any(has) {
                continue;
            }
            let place = match self.place(&host.own) {
                Ok(place) => place,
                // What is only a preference may be missing.
                Err(_) if !missing.iter().any(|name| has(name)) => continue,
                Err(error) => return Err(error),
            };
            self.limit(&place, has)?;
            missing.retain(|name| !has(name));
            self.keep(place)?;
        }
        match missing.first() {
            None => Ok(()),
            Some(name) => Err(io::Error::other(format!(
                "no {name} controller is to be had"
            ))),
        }
    }

    fn limit(&mut self, place: &Place, has: impl Fn(&str) -> bool) -> io::Result<()> {
        let events = &mut self.entrance.events;
        if has("memory") {
            let bytes = self.memory.to_string();
            place.set("memory.limit_in_bytes", &bytes)?;
            // Only where the kernel counts swap.
            let _preferred = place.set("memory.memsw.limit_in_bytes", &bytes);
            events.count(Hit::Memory, place.open("memory.oom_control")?, "oom_kill");
        }
        if has("pids") {
            place.set("pids.max", &self.bounds.processes.to_string())?;
            events.count(Hit::Processes, place.open("pids.events")?, "max");
        }
        if has("cpu") {
            if let Some(percent) = self.bounds.cpu_percent {
                place.set("cpu.cfs_period_us", &PERIOD_US.to_string())?;
                place.set("cpu.cfs_quota_us", &quota(percent).to_string())?;
            }
            let _preferred = place.set("cpu.shares", SHARES);
        }
        Ok(())
    }

    fn place(&self, parent: &Path) -> io::Result<Place> {
        Place::make(parent, self.sandbox)
            .map_err(|error| io::Error::other(format!("{}: {error}", parent.display())))
    }

    fn keep(&mut self, place: Place) -> io::Result<()> {
        let door = place.door();
        self.group.0.push(place);
        self.entrance.doors.push(door?);
        Ok(())
    }
}

fn quota(percent: u32) -> u64 {
    u64::from(percent) * PERIOD_US / 100
}

/// The group of version 2 that a sandbox's is made in: the launcher's own, if it has it for itself; else the nearest above
/// that gives its controllers on, as systemd's slices do.
fn delegated(host: &Host) -> io::Result<PathBuf> {
    let mine = access(&host.own.join("cgroup.subtree_control"), AccessFlags::W_OK).is_ok();
    let processes = fs::read_to_string(host.own.join("cgroup.procs"))?;
    if mine && host.own != host.top && processes.trim() == getpid().to_string() {
        give_on(&host.own)?;
    }
    let gives = |group: &&Path| {
        offers(group, "cgroup.subtree_control")
            && access(&group.join("cgroup.procs"), AccessFlags::W_OK).is_ok()
    };
    host.own
        .ancestors()
        .take_while(|group| group.starts_with(&host.top))
        .find(gives)
        .map(Path::to_owned)
        .ok_or_else(|| io::Error::other("the host delegates none"))
}

/// Moves this process out of the way, so that its group can hold others.
fn give_on(own: &Path) -> io::Result<()> {
    let leaf = own.join(LEAF);
    fs::create_dir_all(&leaf)?;
    fs::write(leaf.join("cgroup.procs"), "0")?;
    let control = own.join("cgroup.subtree_control");
    fs::write(&control, "+memory +pids")?;
    for more in ["+cpu", "+io"] {
        // Not every host gives these; what takes them says so by itself.
        let _given = fs::write(&control, more);
    }
    Ok(())
}

fn most_of_memory() -> io::Result<u64> {
    Ok(sysinfo()?.ram_total() / 4 * MEMORY_QUARTERS)
}

/// Reads a file of /proc at once: the kernel writes as much of it as there is room for, and begins anew with each read.
fn read(path: &str) -> io::Result<String> {
    let mut text = String::with_capacity(PROC_BYTES);
    let read = File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    read.map_err(|error| io::Error::other(format!("{path}: {error}")))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A tree of plain files: a slice that gives its controllers on, and this process's group in it.
    fn tree(processes: &str) -> (TempDir, Host) {
        let top = tempfile::tempdir().unwrap();
        let slice = top.path().join("app.slice");
        let own = slice.join("own.scope");
        fs::create_dir_all(&own).unwrap();
        for (group, gives, holds) in [
            (top.path(), "cpu memory pids", ""),
            (&slice, "cpu memory pids", ""),
            (&own, "", processes),
        ] {
            fs::write(group.join("cgroup.subtree_control"), gives).unwrap();
            fs::write(group.join("cgroup.procs"), holds).unwrap();
        }
        let host = Host {
            controllers: Vec::new(),
            top: top.path().to_owned(),
            own,
        };
        (top, host)
    }

    #[test]
    fn among_others_the_nearest_group_that_gives_on_is_taken() {
        let (_top, host) = tree("1\n2\n");
        let taken = delegated(&host).unwrap();
        assert!(taken.ends_with("app.slice"), "{taken:?}");
        assert!(!host.own.join(LEAF).exists(), "nobody was moved");
        fs::write(taken.join("cgroup.subtree_control"), "cpu").unwrap();
        assert_eq!(delegated(&host).unwrap(), host.top);
        fs::remove_file(host.top.join("cgroup.subtree_control")).unwrap();
        assert!(delegated(&host).is_err());
    }

    #[test]
    fn a_group_of_the_launchers_own_is_cleared_for_others() {
        let (_top, host) = tree(&format!("{}\n", getpid()));
        delegated(&host).unwrap();
        let moved = fs::read_to_string(host.own.join(LEAF).join("cgroup.procs")).unwrap();
        assert_eq!(moved, "0");
        assert_ne!(
            fs::read_to_string(host.own.join("cgroup.subtree_control")).unwrap(),
            ""
        );
    }

    #[test]
    fn a_share_of_a_cpu_is_a_share_of_the_period() {
        assert_eq!(quota(150), 150_000);
    }
}
