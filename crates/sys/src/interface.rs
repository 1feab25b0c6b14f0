//! Network interfaces of this network namespace (netdevice(7)). Never adds an address or a route.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use libc::{c_char, c_short};
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

const LOOPBACK: &[u8] = b"lo";

/// Brings the loopback interface up.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN in the namespace.
pub fn loopback_up() -> io::Result<()> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(LOOPBACK) {
        *to = c_char::from_ne_bytes([*from]);
    }
    call(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    // NEEDED: the kernel's structure is a union. SAFETY: the call above filled in the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    let up = c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or_default();
    request.ifr_ifru.ifru_flags = flags | up;
    call(&socket, libc::SIOCSIFFLAGS, &mut request)
}

fn call(socket: &OwnedFd, number: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // NEEDED: no safe crate has these. SAFETY: both take a pointer to an ifreq, and this one is alive and exclusive.
    let code = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            number as libc::Ioctl,
            std::ptr::from_mut(request),
        )
    };
    Errno::result(code)?;
    Ok(())
}
