//! What is refused for its arguments, of calls that there are: for each of them a piece of a filter that ends with an answer
//! whichever way it goes. Looks at numbers alone; what a pointer leads to no filter can see.
//!
//! ```text
//! socket ─▶ which family? ─┬─ unix ────▶ pass
//!                          ├─ netlink ─▶ about routes? ──▶ pass, else EPERM
//!                          ├─ IP ──────▶ raw or another kind? ──▶ EPERM, else a transport but TCP and UDP? ──▶ EPROTONOSUPPORT
//!                          └─ other ───▶ EPERM
//! ```

use std::num::TryFromIntError;

use seccompiler::{BpfProgram, sock_filter};

use super::by_number::{ANSWER, Answer, IF_EQUAL, LOAD, instruction};

/// Instructions of a filter (linux/bpf_common.h).
const IF_ANY_BIT: u16 = 0x45;
const KEEP_BITS: u16 = 0x54;

/// Where `struct seccomp_data` has the first argument, and how long each is; of a number that the kernel takes as `int` only
/// the lower half counts, whatever stands in the upper one.
const ARGUMENTS_AT: u32 = 16;
const ARGUMENT_BYTES: u32 = 8;

/// Flags of clone(2) that make a namespace; clone3(2) hides its flags in memory and is answered as if it did not exist.
const NEW_NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Over what sockets that stay within the sandbox go. Others load code into the kernel that nobody else uses, or reach the host of
/// a virtual machine.
const IP: [u32; 2] = [
    libc::AF_INET.cast_unsigned(),
    libc::AF_INET6.cast_unsigned(),
];
const UNIX: [u32; 1] = [libc::AF_UNIX.cast_unsigned()];
const NETLINK: [u32; 1] = [libc::AF_NETLINK.cast_unsigned()];

/// Of netlink, only the list of interfaces and routes.
const ROUTES: [u32; 1] = [libc::NETLINK_ROUTE.cast_unsigned()];

/// Transports over IP: TCP and UDP, named or not.
const TRANSPORTS: [u32; 3] = [
    0,
    libc::IPPROTO_TCP.cast_unsigned(),
    libc::IPPROTO_UDP.cast_unsigned(),
];

/// Kinds of IP sockets that are neither TCP nor UDP: SOCK_RAW and SOCK_PACKET of old see or write what is below; SOCK_RDM,
/// SOCK_SEQPACKET and SOCK_DCCP are other transports, also where no protocol is named.
const BELOW: [u32; 5] = [3, 4, 5, 6, 10];

/// In a socket's type, what is the kind; the rest are flags.
const KIND_MASK: u32 = 0xf;

/// Terminal requests that type for somebody else: TIOCSTI and TIOCLINUX.
const TYPING: [u32; 2] = [0x5412, 0x541c];

/// Personalities that change nothing but what uname(2) says, and the question which one it is.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Each call that is refused for its arguments, and what is looked at.
pub(super) fn looked_at() -> [(i64, BpfProgram); 5] {
    [
        (libc::SYS_clone, clone()),
        (libc::SYS_socket, socket(transport())),
        (libc::SYS_socketpair, socket(pass())),
        (libc::SYS_ioctl, on(1, &TYPING, refuse(), pass())),
        (
            libc::SYS_personality,
            on(0, &PERSONALITIES, pass(), refuse()),
        ),
    ]
}

fn clone() -> BpfProgram {
    let refused = refuse();
    let Ok(over) = u8::try_from(refused.len()) else {
        return refused;
    };
    let mut program = vec![
        load(0),
        sock_filter {
            jf: over,
            ..instruction(IF_ANY_BIT, NEW_NAMESPACES.cast_unsigned())
        },
    ];
    program.extend(refused);
    program.extend(pass());
    program
}

/// A socket, where one over IP that is of a usual kind goes on as it says here.
fn socket(over_ip: BpfProgram) -> BpfProgram {
    let mut ip = vec![load(1), instruction(KEEP_BITS, KIND_MASK)];
    ip.extend(either(&BELOW, refuse(), over_ip));
    let netlink = on(2, &ROUTES, pass(), refuse());
    let other = either(&NETLINK, netlink, refuse());
    on(0, &UNIX, pass(), either(&IP, ip, other))
}

fn transport() -> BpfProgram {
    on(
        2,
        &TRANSPORTS,
        pass(),
        answer(Answer::Fail(libc::EPROTONOSUPPORT)),
    )
}

/// Looks at an argument: one way if it is one of these, the other way if not.
fn on(argument: u32, values: &[u32], yes: BpfProgram, no: BpfProgram) -> BpfProgram {
    let mut program = vec![load(argument)];
    program.extend(either(values, yes, no));
    program
}

/// The same with what is loaded already. A condition reaches no further than 255 instructions: of values and pieces that are
/// longer everything is refused, for a condition that led elsewhere could let anything through.
fn either(values: &[u32], yes: BpfProgram, no: BpfProgram) -> BpfProgram {
    let over = (0..values.len()).rev().map(|left| left + no.len());
    let tests = values.iter().zip(over).map(|(value, over)| {
        let jt = u8::try_from(over)?;
        Ok(sock_filter {
            jt,
            ..instruction(IF_EQUAL, *value)
        })
    });
    let Ok(tests) = tests.collect::<Result<BpfProgram, TryFromIntError>>() else {
        return refuse();
    };
    tests.into_iter().chain(no).chain(yes).collect()
}

fn load(argument: u32) -> sock_filter {
    instruction(LOAD, ARGUMENTS_AT + argument * ARGUMENT_BYTES)
}

fn pass() -> BpfProgram {
    answer(Answer::Pass)
}

fn refuse() -> BpfProgram {
    answer(Answer::Fail(libc::EPERM))
}

fn answer(answer: Answer) -> BpfProgram {
    vec![instruction(ANSWER, answer.word())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_for_a_condition_is_refused_whole() {
        let far: Vec<u32> = (0..300).collect();
        assert_eq!(either(&far, pass(), refuse()), refuse());
        let long: BpfProgram = (0..300).flat_map(|_| refuse()).collect();
        assert_eq!(either(&NETLINK, pass(), long), refuse());
        // As far as one reaches: the last of them is one instruction away from what follows.
        let near: Vec<u32> = (0..255).collect();
        let whole = either(&near, pass(), refuse());
        assert_eq!((whole.len(), whole[0].jt, whole[254].jt), (257, 255, 1));
    }
}
