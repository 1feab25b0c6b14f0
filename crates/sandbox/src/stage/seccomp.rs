//! A system call filter: what an agent has no honest use for fails, so that the kernel code behind it is out of reach.
//! Mostly a second wall behind namespaces and capabilities, but the only one where the kernel has no namespace: AF_VSOCK
//! sockets reach the host of a virtual machine from any network namespace. Never to be done without for that reason.
//!
//! A list of what is denied for now; a list of what is allowed takes its place when the filter is deepened.

use std::collections::BTreeMap;

use postern_contract::launch::{Layer, Obstacle};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter, sock_filter,
};

use crate::ledger::Ledger;

/// Calls that fail with EPERM whatever their arguments.
const DENIED: &[i64] = &[
    // Other namespaces, other roots, other mounts.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // Other processes' memory and descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Keys are shared beyond namespaces.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Much kernel code for little use; io_uring also passes by this very filter.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fanotify_init,
    libc::SYS_open_by_handle_at,
    libc::SYS_lookup_dcookie,
    // The machine itself.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_nfsservctl,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// Flags of clone(2) that make a namespace; clone3(2) hides its flags in memory and is answered as if it did not exist.
const NEW_NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Socket families that stay within the sandbox. Of netlink, only the list of interfaces and routes.
const FAMILIES: [libc::c_int; 4] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];

/// Terminal requests that type for somebody else.
const TYPING: [u64; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

/// Installs the filter for this process and all that come from it. Needs `no_new_privileges` first.
pub(crate) fn apply(ledger: &mut Ledger) -> Result<(), Obstacle> {
    ledger.attempt(Layer::Seccomp, "dangerous calls denied", install())
}

/// Installs the filter for this process, wherever it is.
pub(crate) fn install() -> Result<(), seccompiler::Error> {
    let nowhere = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    for filter in [
        program(denied()?, libc::EPERM)?,
        program(nowhere, libc::ENOSYS)?,
        #[cfg(target_arch = "x86_64")]
        no_x32(),
    ] {
        apply_filter(&filter)?;
    }
    Ok(())
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: libc::c_int,
) -> Result<BpfProgram, BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let deny = SeccompAction::Errno(errno.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, deny, arch)?.try_into()
}

fn denied() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<_, _> = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let namespaces = NEW_NAMESPACES
        .map(|flag| u64::from(flag.cast_unsigned()))
        .map(|flag| rule(vec![argument(0, SeccompCmpOp::MaskedEq(flag), flag)]));
    rules.insert(libc::SYS_clone, all(namespaces)?);
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        rules.insert(call, all([foreign_family(), odd_netlink()])?);
    }
    let typing = TYPING.map(|request| rule(vec![argument(1, SeccompCmpOp::Eq, request)]));
    rules.insert(libc::SYS_ioctl, all(typing)?);
    Ok(rules)
}

fn foreign_family() -> Result<SeccompRule, BackendError> {
    let other = |family: libc::c_int| number(0, SeccompCmpOp::Ne, family);
    rule(FAMILIES.map(other).into())
}

fn odd_netlink() -> Result<SeccompRule, BackendError> {
    rule(vec![
        number(0, SeccompCmpOp::Eq, libc::AF_NETLINK),
        number(2, SeccompCmpOp::Ne, libc::NETLINK_ROUTE),
    ])
}

fn all<const N: usize>(
    rules: [Result<SeccompRule, BackendError>; N],
) -> Result<Vec<SeccompRule>, BackendError> {
    rules.into_iter().collect()
}

fn rule(
    conditions: Vec<Result<SeccompCondition, BackendError>>,
) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

fn number(
    index: u8,
    operator: SeccompCmpOp,
    value: libc::c_int,
) -> Result<SeccompCondition, BackendError> {
    argument(index, operator, u64::from(value.cast_unsigned()))
}

/// Compares 32 bits: the kernel takes these arguments as `int`, whatever stands in the upper half.
fn argument(
    index: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
}

/// The x32 calls are the same calls under other numbers, which no rule above names: none of them exists.
#[cfg(target_arch = "x86_64")]
fn no_x32() -> BpfProgram {
    const LOAD: u16 = 0x20;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const X32_BIT: u32 = 0x4000_0000;
    let deny = u32::from(SeccompAction::Errno(libc::ENOSYS.cast_unsigned()));
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        step(LOAD, 0, 0, 0),
        step(JUMP_IF_AT_LEAST, 0, 1, X32_BIT),
        step(RETURN, 0, 0, deny),
        step(RETURN, 0, 0, u32::from(SeccompAction::Allow)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_within_the_kernels_length() {
        let filter = program(denied().unwrap(), libc::EPERM).unwrap();
        assert!(filter.len() < 4096);
    }
}
