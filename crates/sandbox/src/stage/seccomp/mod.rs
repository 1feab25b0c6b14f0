//! A system call filter: what an agent has no honest use for fails, so that the kernel code behind it is out of reach.
//! Mostly a second wall behind namespaces and capabilities, but the only one where the kernel has no namespace: AF_VSOCK
//! sockets reach the host of a virtual machine from any network namespace. Never to be done without for that reason.
//!
//! ```text
//! call ──▶ in the list of what there is? ──no──▶ ENOSYS, or EPERM where it is refused by name
//!             └─yes─▶ refused for its arguments? ──▶ EPERM; EPROTONOSUPPORT for a transport
//! ```
//! Another architecture's calls end the program.

mod by_number;
mod calls;

use std::collections::BTreeMap;

use postern_contract::launch::{Layer, Obstacle};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use self::{
    by_number::Answer,
    calls::{ALLOWED, ALLOWED_HERE, ALLOWED_NEW, DENIED},
};
use crate::ledger::Ledger;

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

/// Transports over IP: TCP and UDP, named or not. Others load code into the kernel that nobody else uses.
const TRANSPORTS: [libc::c_int; 3] = [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP];

/// Kinds of IP sockets that are neither TCP nor UDP: SOCK_RAW and SOCK_PACKET of old see or write what is below; SOCK_RDM,
/// SOCK_SEQPACKET and SOCK_DCCP are other transports, also where no protocol is named.
const BELOW: [u64; 5] = [3, 4, 5, 6, 10];

/// In a socket's type, what is the kind; the rest are flags.
const KIND_MASK: u64 = 0xf;

/// Personalities that change nothing but what uname(2) says, and the question which one it is.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Installs the filter for this process and all that come from it. Needs `no_new_privileges` first.
pub(crate) fn apply(ledger: &mut Ledger) -> Result<(), Obstacle> {
    let how = format!(
        "{} calls there are, {} refused by name",
        there_is().count(),
        DENIED.len()
    );
    ledger.attempt(Layer::Seccomp, &how, install())
}

/// Installs the filter for this process, wherever it is. Where several refuse a call, the last one's word is heard.
pub(crate) fn install() -> Result<(), seccompiler::Error> {
    for filter in [
        what_there_is(),
        program(transports()?, libc::EPROTONOSUPPORT)?,
        program(arguments()?, libc::EPERM)?,
    ] {
        apply_filter(&filter)?;
    }
    Ok(())
}

fn there_is() -> impl Iterator<Item = i64> {
    let lists = [ALLOWED, ALLOWED_HERE, ALLOWED_NEW];
    lists.into_iter().flatten().copied()
}

fn what_there_is() -> BpfProgram {
    let there_is = there_is().map(|call| (call, Answer::Pass));
    let denied = DENIED.iter().map(|call| (*call, Answer::Fail(libc::EPERM)));
    let answers = there_is.chain(denied);
    // A number that no call can have is in no list.
    let answers = answers.filter_map(|(call, answer)| Some((u32::try_from(call).ok()?, answer)));
    by_number::filter(&answers.collect(), Answer::Fail(libc::ENOSYS))
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: libc::c_int,
) -> Result<BpfProgram, BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let deny = SeccompAction::Errno(errno.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, deny, arch)?.try_into()
}

/// What is refused for its arguments.
fn arguments() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules = BTreeMap::new();
    let namespaces = NEW_NAMESPACES
        .map(|flag| u64::from(flag.cast_unsigned()))
        .map(|flag| rule(vec![argument(0, SeccompCmpOp::MaskedEq(flag), flag)]));
    rules.insert(libc::SYS_clone, all(namespaces)?);
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        let sees_below = [libc::AF_INET, libc::AF_INET6]
            .into_iter()
            .flat_map(|family| BELOW.map(|kind| below(kind, family)));
        let others = [foreign_family(), odd_netlink()];
        let refused = others.into_iter().chain(sees_below);
        rules.insert(call, refused.collect::<Result<_, _>>()?);
    }
    let other = |is: u64| argument(0, SeccompCmpOp::Ne, is);
    let odd_personality = rule(PERSONALITIES.map(other).into())?;
    rules.insert(libc::SYS_personality, vec![odd_personality]);
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

/// A socket of this kind over IP.
fn below(kind: u64, family: libc::c_int) -> Result<SeccompRule, BackendError> {
    rule(vec![
        number(0, SeccompCmpOp::Eq, family),
        argument(1, SeccompCmpOp::MaskedEq(KIND_MASK), kind),
    ])
}

fn transports() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let odd = |family: libc::c_int| {
        let other = |transport: libc::c_int| number(2, SeccompCmpOp::Ne, transport);
        let over = number(0, SeccompCmpOp::Eq, family);
        rule([over].into_iter().chain(TRANSPORTS.map(other)).collect())
    };
    let rules = all([odd(libc::AF_INET), odd(libc::AF_INET6)])?;
    Ok(BTreeMap::from([(libc::SYS_socket, rules)]))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_within_the_kernels_length() {
        let filters = [
            what_there_is(),
            program(transports().unwrap(), libc::EPROTONOSUPPORT).unwrap(),
            program(arguments().unwrap(), libc::EPERM).unwrap(),
        ];
        // Far below what the kernel takes: it reads all of it for every number, in every sandbox.
        let lengths = filters.each_ref().map(Vec::len);
        assert!(lengths.iter().sum::<usize>() < 600, "{lengths:?}");
    }

    #[test]
    fn what_is_refused_is_not_also_there_and_nothing_stands_twice() {
        let mut all: Vec<_> = there_is().chain(DENIED.iter().copied()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(!all.contains(&libc::SYS_clone3), "its flags cannot be seen");
    }
}
