//! A system call filter: what an agent has no honest use for fails, so that the kernel code behind it is out of reach.
//! Mostly a second wall behind namespaces and capabilities, but the only one where the kernel has no namespace: AF_VSOCK
//! sockets reach the host of a virtual machine from any network namespace. Never to be done without for that reason.
//!
//! ```text
//! call ──▶ in the list of what there is? ──no──▶ ENOSYS, or EPERM where it is refused by name  (calls.rs, by_number.rs)
//!             └─yes─▶ refused for its arguments? ──▶ EPERM; EPROTONOSUPPORT for a transport     (arguments.rs)
//! ```
//! Another architecture's calls end the program.

mod arguments;
mod by_number;
mod calls;

use postern_contract::launch::{Layer, Obstacle};
use seccompiler::{BpfProgram, apply_filter};

use self::{
    by_number::Answer,
    calls::{ALLOWED, ALLOWED_HERE, ALLOWED_NEW, DENIED},
};
use crate::ledger::Ledger;

/// Installs the filter for this process and all that come from it. Needs `no_new_privileges` first.
pub(crate) fn apply(ledger: &mut Ledger) -> Result<(), Obstacle> {
    let how = format!(
        "{} calls there are, {} refused by name",
        there_is().count(),
        DENIED.len()
    );
    ledger.attempt(Layer::Seccomp, &how, install())
}

/// Installs the filter for this process, wherever it is.
pub(crate) fn install() -> Result<(), seccompiler::Error> {
    apply_filter(&whole())
}

fn there_is() -> impl Iterator<Item = i64> {
    let lists = [ALLOWED, ALLOWED_HERE, ALLOWED_NEW];
    lists.into_iter().flatten().copied()
}

fn whole() -> BpfProgram {
    let there_is = there_is().map(|call| (call, Answer::Pass));
    let denied = DENIED.iter().map(|call| (*call, Answer::Fail(libc::EPERM)));
    let (looked_at, pieces): (Vec<_>, Vec<_>) = arguments::looked_at().into_iter().unzip();
    let looked_at = (0..).map(Answer::Look).zip(looked_at);
    let looked_at = looked_at.map(|(answer, call)| (call, answer));
    // Of two answers to a call the later one stands: what is looked at is in the list of what there is, too.
    let answers = there_is.chain(denied).chain(looked_at);
    // A number that no call can have is in no list.
    let answers = answers.filter_map(|(call, answer)| Some((u32::try_from(call).ok()?, answer)));
    by_number::filter(&answers.collect(), Answer::Fail(libc::ENOSYS), &pieces)
}

#[cfg(test)]
mod tests {
    use super::{
        by_number::{ARCHITECTURE, tests::run},
        *,
    };

    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    const ODD_TRANSPORT: u32 = libc::SECCOMP_RET_ERRNO | libc::EPROTONOSUPPORT.cast_unsigned();
    const PASSES: u32 = libc::SECCOMP_RET_ALLOW;

    fn said(call: i64, arguments: [i64; 3]) -> u32 {
        let [one, two, three] = arguments.map(i64::cast_unsigned);
        let call = (u32::try_from(call).unwrap(), [one, two, three, 0, 0, 0]);
        run(&whole(), call, ARCHITECTURE)
    }

    #[test]
    fn the_filter_is_short() {
        // Far below what the kernel takes: it reads all of it for every number, in every sandbox.
        assert!(whole().len() < 300, "{}", whole().len());
    }

    #[test]
    fn what_is_refused_is_not_also_there_and_nothing_stands_twice() {
        let mut all: Vec<_> = there_is().chain(DENIED.iter().copied()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(!all.contains(&libc::SYS_clone3), "its flags cannot be seen");
        for (call, _) in arguments::looked_at() {
            assert!(there_is().any(|there| there == call), "{call}");
        }
    }

    #[test]
    fn sockets_are_of_these_families_kinds_and_transports() {
        let (stream, datagram, raw, flags) = (1, 2, 3, 0o2_004_000);
        for (family, kind, transport, wanted) in [
            (libc::AF_UNIX, stream, 0, PASSES),
            (libc::AF_UNIX, 5 | flags, 0, PASSES),
            (libc::AF_INET, stream | flags, 0, PASSES),
            (libc::AF_INET6, stream, libc::IPPROTO_TCP, PASSES),
            (libc::AF_INET6, datagram, libc::IPPROTO_UDP, PASSES),
            (libc::AF_INET, stream, libc::IPPROTO_SCTP, ODD_TRANSPORT),
            (libc::AF_INET6, stream, 262, ODD_TRANSPORT),
            (libc::AF_INET, datagram, libc::IPPROTO_ICMP, ODD_TRANSPORT),
            (libc::AF_INET, raw, libc::IPPROTO_ICMP, EPERM),
            (libc::AF_INET6, raw | flags, 0, EPERM),
            (libc::AF_INET, 4, 0, EPERM),
            (libc::AF_INET, 5, 0, EPERM),
            (libc::AF_INET, 6, 0, EPERM),
            (libc::AF_INET, 10, 0, EPERM),
            (libc::AF_NETLINK, raw, libc::NETLINK_ROUTE, PASSES),
            (libc::AF_NETLINK, raw, libc::NETLINK_NETFILTER, EPERM),
            (libc::AF_PACKET, raw, 0, EPERM),
            (libc::AF_VSOCK, stream, 0, EPERM),
            (libc::AF_ALG, 5, 0, EPERM),
            (-1, stream, 0, EPERM),
        ] {
            // The kernel takes each as an `int`: what stands above is nothing to it.
            for above in [0, 1 << 32] {
                let arguments = [family, kind, transport].map(|word| i64::from(word) | above);
                assert_eq!(said(libc::SYS_socket, arguments), wanted, "{arguments:?}");
            }
        }
        let pair = |family, kind| said(libc::SYS_socketpair, [family, kind, 0].map(i64::from));
        assert_eq!(pair(libc::AF_UNIX, stream), PASSES);
        assert_eq!(pair(libc::AF_INET, raw), EPERM);
        assert_eq!(pair(libc::AF_VSOCK, stream), EPERM);
    }

    #[test]
    fn no_namespace_no_typing_and_no_odd_personality() {
        let flags = |flags: libc::c_int| said(libc::SYS_clone, [i64::from(flags), 0, 0]);
        assert_eq!(
            flags(libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD),
            PASSES
        );
        for namespace in [
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWNS,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWNET,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUTS,
            libc::CLONE_NEWCGROUP,
        ] {
            assert_eq!(flags(namespace | libc::CLONE_VM), EPERM);
        }
        // Their type is the C library's choice.
        let request = |request: libc::Ioctl| i64::try_from(request).unwrap();
        let ioctl = |request| said(libc::SYS_ioctl, [0, request, 0]);
        for typing in [libc::TIOCSTI, libc::TIOCLINUX].map(request) {
            assert_eq!(ioctl(typing), EPERM);
            assert_eq!(ioctl(typing | 1 << 32), EPERM);
        }
        assert_eq!(ioctl(request(libc::TCGETS)), PASSES);
        let personality = |wanted| said(libc::SYS_personality, [wanted, 0, 0]);
        assert_eq!([0, 8, 0xffff_ffff].map(personality), [PASSES; 3]);
        assert_eq!([4, 0x40_0000].map(personality), [EPERM; 2]);
    }
}
