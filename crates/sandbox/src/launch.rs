//! The whole launch, told once: in which order a checked plan becomes a confined process. Never decides what a plan may
//! ask for (`checked.rs`) nor how a layer is made (`stage/`).
//!
//! ```text
//! posternd ── connection ──▶ launcher            user, mount, net, ipc, uts namespaces; one capability
//!                              ├─ janitor        host namespaces; only if there is something to delete
//!                              └─ init           also the pid namespace; no capability
//!                                   └─ agent     whatever Exec starts
//! ```
//! The launcher's death kills both children; init's death kills everything in the sandbox. What takes long is done side by
//! side: init puts the root together while the launcher furnishes the network, and enters that when it is done.

use std::{
    collections::BTreeSet,
    io, mem,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::{
        socket::{setsockopt, sockopt},
        stat::{Mode, umask},
        time::{TimeVal, TimeValLike},
    },
    unistd::chdir,
};
use postern_contract::{
    MESSAGE_BYTES_MAX,
    launch::{Enforced, Layer, Obstacle, Said},
};
use postern_sys::{fork::SingleThread, seqpacket};

use crate::{
    checked::{Checked, Identity},
    config::Config,
    init::Supervisor,
    janitor::Janitor,
    ledger::Ledger,
    stage::{
        capabilities,
        cgroup::{self, Entrance, Events},
        cgroup_namespace, divert, fresh_proc, ipc_namespace, landlock,
        mount_namespace::{
            self, sources,
            sources::{Made, Source},
        },
        net_namespace::{self, Door, Way},
        no_new_privileges,
        pid_namespace::{self, Init},
        resource_limits, seccomp, separate_uid, user_namespace, uts_namespace,
    },
};

/// How long init may take to build its part and report, in seconds.
const REPORT_SECONDS_MAX: i64 = 30;

/// What the launcher makes is readable by all, writable by its owner.
const UMASK: Mode = Mode::from_bits_truncate(0o022);

/// The exit code of an init that was asked to end, or that could not begin.
const OVER: u8 = 0;

/// What init takes over from the launcher's life on the host.
type Handed<'a> = (&'a Checked, Vec<Source>, Option<Entrance>, Door);

/// A sandbox that stands. Dropping it kills everything in it and waits for the end.
#[derive(Debug)]
pub(crate) struct Confined {
    /// Process 1 of the sandbox.
    pub(crate) init: Init,
    /// Who deletes trees, if anybody.
    pub(crate) janitor: Option<Janitor>,
    /// The plan's listeners, in its order.
    pub(crate) listeners: Vec<OwnedFd>,
    /// What holds.
    pub(crate) enforced: Enforced,
}

impl Confined {
    /// Ends everything in it, and then what was kept for it on the host.
    pub(crate) fn end(self) {
        let Self { init, janitor, .. } = self;
        drop(init);
        if let Some(janitor) = janitor {
            janitor.finish();
        }
    }
}

/// Builds the sandbox; if that fails, nothing of it is left.
pub(crate) fn launch(
    checked: Checked,
    config: &Config,
    one: &SingleThread,
) -> Result<Confined, Obstacle> {
    let identity = checked.identity;
    let mut made = Vec::new();
    let mut janitor = None;
    match build(checked, config, one, (&mut made, &mut janitor)) {
        Ok(confined) => Ok(Confined {
            janitor,
            ..confined
        }),
        Err(obstacle) => {
            // One of the two may: the launcher as an ordinary user, the janitor where the launcher was root.
            made.iter().for_each(Made::undo);
            if let Some(janitor) = janitor {
                janitor.undo();
            }
            Err(user_namespace::explain(obstacle, identity))
        }
    }
}

fn build(
    checked: Checked,
    config: &Config,
    one: &SingleThread,
    (made, janitor): (&mut Vec<Made>, &mut Option<Janitor>),
) -> Result<Confined, Obstacle> {
    umask(UMASK);
    chdir("/").map_err(|errno| Obstacle::plain(format!("cannot enter /: {errno}")))?;
    let identity = checked.identity;
    let mut ledger = Ledger::new(checked.required.clone());

    // Root takes the sources in hand while it is root; an ordinary user may only once it is in a namespace of its own.
    let early = matches!(identity, Identity::Own { .. });
    let mut found = Vec::new();
    if early {
        found = sources::take(&checked, made)?;
    }
    let (group, mut entrance) = cgroup::make(&checked, &mut ledger)?.unzip();
    if !config.discard_roots.is_empty() || !made.is_empty() || group.is_some() {
        let started = Janitor::start(one, config, (made, &mut found), group.as_ref())?;
        *janitor = Some(started);
    }
    // The janitor alone holds it from now on: its lock tells others whether anybody does.
    drop(group);
    separate_uid::take_on(identity, &mut ledger)?;
    user_namespace::enter(identity, &mut ledger)?;
    mount_namespace::enter()?;
    if !early {
        found = sources::take(&checked, made)?;
    }
    ipc_namespace::enter(&mut ledger)?;
    uts_namespace::enter(&checked.hostname, &mut ledger)?;
    pid_namespace::enter(&mut ledger)?;
    let (way, door) = Way::open()?;
    let mut way = Some(way);
    let init = pid_namespace::start_init(one, &ledger, |control, ledger| {
        // Copies that are the launcher's alone.
        drop((janitor.take(), way.take(), mem::take(made)));
        inside(
            control,
            ledger,
            (&checked, found, entrance.take(), door),
            one,
        )
    })?;
    let (listeners, mut enforced) = furnish(&checked, way)?;
    let lost = |error| Obstacle::plain(format!("the helper is gone: {error}"));
    if let Some(janitor) = janitor {
        janitor.begin().map_err(lost)?;
    }
    reduce(checked.required)?;
    enforced.extend(report(&init.control, TimeVal::seconds(REPORT_SECONDS_MAX))?);
    if let Some(janitor) = janitor {
        janitor.keep().map_err(lost)?;
    }
    Ok(Confined {
        init,
        janitor: None,
        listeners,
        enforced,
    })
}

/// Makes the network, and lets init in.
fn furnish(checked: &Checked, way: Option<Way>) -> Result<(Vec<OwnedFd>, Enforced), Obstacle> {
    let mut ledger = Ledger::new(checked.required.clone());
    let listeners = net_namespace::furnish(&checked.listeners, &mut ledger)?;
    divert::lead(&checked.listeners, &listeners, &mut ledger)?;
    way.map_or(Ok(()), Way::let_in)?;
    Ok((listeners, ledger.report()))
}

/// The launcher gives up what it needs no more. What holds for it is its own, and nothing of the agent's walls.
fn reduce(required: BTreeSet<Layer>) -> Result<(), Obstacle> {
    capabilities::give_up_own()?;
    let mut own = Ledger::new(required);
    no_new_privileges::apply(&mut own)?;
    seccomp::apply(&mut own)
}

/// The rest of the launch, as process 1 of the sandbox.
fn inside(control: OwnedFd, mut ledger: Ledger, handed: Handed<'_>, one: &SingleThread) -> u8 {
    let Ok(supervisor) = Supervisor::new(one, control) else {
        return OVER;
    };
    match confine(handed, &mut ledger) {
        Ok(events) => {
            let enforced = ledger.report();
            if supervisor.say(&Said::Built { enforced }).is_ok() {
                let _ended = supervisor.serve(events);
            }
        }
        Err(obstacle) => {
            let _told = supervisor.say(&Said::Refused(obstacle));
        }
    }
    OVER
}

fn confine(
    (checked, found, entrance, door): Handed<'_>,
    ledger: &mut Ledger,
) -> Result<Events, Obstacle> {
    let grouped = entrance.is_some();
    resource_limits::volunteer_for_oom();
    let root = mount_namespace::build(checked, found, ledger)?;
    fresh_proc::mount_it(ledger)?;
    root.settle(ledger)?;
    door.enter()?;
    // From here on this process has no more of the machine than the agent; what it did so far was the launcher's work.
    let events = cgroup::join(entrance, ledger)?;
    cgroup_namespace::enter(ledger)?;
    resource_limits::apply(&checked.bounds, grouped, ledger)?;
    capabilities::drop_all(ledger)?;
    no_new_privileges::apply(ledger)?;
    landlock::apply(checked, ledger)?;
    seccomp::apply(ledger)?;
    Ok(events)
}

/// Waits for what init says about the launch.
fn report(control: &OwnedFd, patience: TimeVal) -> Result<Enforced, Obstacle> {
    let lost = |why: &str| Obstacle::plain(format!("the sandbox's init gave no report: {why}"));
    setsockopt(control, sockopt::ReceiveTimeout, &patience)
        .map_err(|errno| lost(&errno.to_string()))?;
    let heard = seqpacket::receive(control.as_fd(), MESSAGE_BYTES_MAX);
    let heard = heard.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => lost("not in time"),
        _ => lost(&error.to_string()),
    })?;
    let (text, _) = heard.ok_or_else(|| lost("it ended"))?;
    match serde_json::from_slice(&text) {
        Ok(Said::Built { enforced }) => {
            fcntl(control, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
                .map_err(|errno| lost(&errno.to_string()))?;
            Ok(enforced)
        }
        Ok(Said::Refused(obstacle)) => Err(obstacle),
        Ok(_) | Err(_) => Err(lost("it said something else")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_that_is_silent_is_given_up() {
        let (control, _silent) = seqpacket::pair().unwrap();
        let given_up = report(&control, TimeVal::milliseconds(1)).unwrap_err();
        assert!(given_up.what.contains("not in time"), "{given_up}");
    }
}
