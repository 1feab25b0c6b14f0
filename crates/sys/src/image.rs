//! A file system in a file becomes a mount that is nowhere yet (fsopen(2), fsconfig(2), fsmount(2); loop(4) where the kernel wants
//! a block device). Never decides whether the file may be trusted: the kernel parses it.

use std::{
    ffi::{CStr, CString},
    fs::{File, OpenOptions},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use libc::{c_int, c_uint, c_ulong};
use nix::errno::Errno;

use crate::mount::{Attributes, Detached};

/// Numbers of linux/mount.h.
const FSOPEN_CLOEXEC: c_uint = 1;
const FSCONFIG_SET_FLAG: c_uint = 0;
const FSCONFIG_SET_STRING: c_uint = 1;
const FSCONFIG_CMD_CREATE: c_uint = 6;
const FSMOUNT_CLOEXEC: c_uint = 1;

/// Numbers of linux/loop.h.
const LOOP_CONFIGURE: c_ulong = 0x4c0a;
const LOOP_CTL_GET_FREE: c_ulong = 0x4c82;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// How often another may take the free loop device first.
const TRIES_MAX: usize = 16;

const EROFS: &CStr = c"erofs";
const SOURCE: &CStr = c"source";
const READ_ONLY: &CStr = c"ro";

/// `struct loop_config` of linux/loop.h (Linux 5.8).
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// Mounts an EROFS image, read-only, that is open here for reading: from the file itself (Linux 6.12), or else by a loop device that
/// goes with the mount.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN in the machine's own user namespace; `ENODEV` where the kernel has no EROFS; as the kernel says
/// of what is no image.
pub fn erofs(image: BorrowedFd<'_>) -> io::Result<Detached> {
    match from_file(image) {
        Err(error) if error.raw_os_error() == Some(libc::ENOTBLK) => by_loop_device(image),
        done => done,
    }
}

/// From the file itself.
///
/// # Errors
/// As [`erofs`]; `ENOTBLK` before Linux 6.12, and where the kernel was built without it.
pub fn from_file(image: BorrowedFd<'_>) -> io::Result<Detached> {
    mount(image)
}

/// By a loop device.
///
/// # Errors
/// As [`erofs`]; as the system says where there is no loop device.
pub fn by_loop_device(image: BorrowedFd<'_>) -> io::Result<Detached> {
    let device = loop_device(image)?;
    mount(device.as_fd())
}

fn mount(of: BorrowedFd<'_>) -> io::Result<Detached> {
    // NEEDED: neither std nor nix has fsopen. SAFETY: takes a constant string and a number.
    let context = unsafe { libc::syscall(libc::SYS_fsopen, EROFS.as_ptr(), FSOPEN_CLOEXEC) };
    let context = owned(context)?;
    let source = CString::new(format!("/proc/self/fd/{}", of.as_raw_fd()))?;
    let source = Some(source.as_c_str());
    configure(&context, FSCONFIG_SET_STRING, (Some(SOURCE), source))?;
    // A device that is read-only is not opened otherwise.
    configure(&context, FSCONFIG_SET_FLAG, (Some(READ_ONLY), None))?;
    configure(&context, FSCONFIG_CMD_CREATE, (None, None))?;
    let (raw, attributes) = (context.as_raw_fd(), Attributes::READ_ONLY.bits());
    // NEEDED: neither std nor nix has fsmount. SAFETY: takes numbers alone.
    let made = unsafe { libc::syscall(libc::SYS_fsmount, raw, FSMOUNT_CLOEXEC, attributes) };
    Ok(Detached::new(owned(made)?))
}

fn configure(
    context: &OwnedFd,
    command: c_uint,
    (key, value): (Option<&CStr>, Option<&CStr>),
) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    let (raw, key, value, aux) = (context.as_raw_fd(), pointer(key), pointer(value), 0);
    // NEEDED: neither std nor nix has fsconfig. SAFETY: both strings live until it returns, or are absent where none is wanted.
    let code = unsafe { libc::syscall(libc::SYS_fsconfig, raw, command, key, value, aux) };
    Errno::result(code)?;
    Ok(())
}

/// A free loop device that shows the file read-only, and is free again once nobody uses it.
fn loop_device(image: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    let mut tries = 0..TRIES_MAX;
    loop {
        // NEEDED: no safe crate has this request. SAFETY: it takes no argument.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) };
        let number = Errno::result(number)?;
        let device = File::open(format!("/dev/loop{number}"))?;
        match show(image, &device) {
            Err(Errno::EBUSY) if tries.next().is_some() => {}
            done => return Ok(done.map(|()| device.into())?),
        }
    }
}

fn show(image: BorrowedFd<'_>, device: &File) -> Result<(), Errno> {
    let config = LoopConfig {
        fd: image.as_raw_fd().cast_unsigned(),
        block_size: 0,
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
        reserved: [0; 8],
    };
    let raw = device.as_raw_fd();
    // NEEDED: no safe crate has this request. SAFETY: the pointer is to a live structure of the shape that the request reads.
    let code = unsafe { libc::ioctl(raw, LOOP_CONFIGURE as _, &raw const config) };
    Errno::result(code).map(drop)
}

fn owned(code: libc::c_long) -> io::Result<OwnedFd> {
    let raw = c_int::try_from(Errno::result(code)?).map_err(io::Error::other)?;
    // NEEDED: the system calls return a bare number. SAFETY: the kernel just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_is_as_large_as_the_kernels() {
        assert_eq!(size_of::<LoopConfig>(), 304);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let by = [
            from_file(file.as_fd()),
            by_loop_device(file.as_fd()),
            erofs(file.as_fd()),
        ];
        for refused in by {
            refused.unwrap_err();
        }
    }
}
