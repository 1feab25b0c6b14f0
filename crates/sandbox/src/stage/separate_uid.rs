//! A host uid that no other sandbox and no daemon has. Never picks one: the config gives the range, the plan the slot.

use nix::{
    sys::prctl::set_keepcaps,
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};
use postern_contract::launch::{Layer, Obstacle};
use postern_sys::capability;

use crate::{
    checked::Identity,
    ledger::{Ledger, stops},
};

/// Becomes the agent's host uid, if it has one of its own. What is left of root's power is what making namespaces takes
/// where ordinary users may not; entering the user namespace ends that too.
pub(crate) fn take_on(identity: Identity, ledger: &mut Ledger) -> Result<(), Obstacle> {
    match identity {
        Identity::Own { id } => {
            become_host_uid(id).map_err(stops(
                Layer::SeparateUid,
                format!("cannot become uid {id} (that takes CAP_SETUID and CAP_SETGID)"),
            ))?;
            ledger.enforced(Layer::SeparateUid, format!("host uid {id}"));
            Ok(())
        }
        Identity::Caller { uid, .. } => {
            let why = format!("the agent has the host uid {uid} of the user who started it");
            let fix = "start postern as root to give every sandbox a uid of its own";
            ledger.absent(Obstacle::layer(Layer::SeparateUid, why).with_fix(fix))
        }
    }
}

fn become_host_uid(id: u32) -> std::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    set_keepcaps(true)?;
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    set_keepcaps(false)?;
    capability::keep_only(capability::SYS_ADMIN)
}
