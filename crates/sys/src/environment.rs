//! Takes variables out of a process's own environment for good: also out of the bytes that it was started with, which /proc and core
//! dumps show. Never while there are threads, which might read them.

use std::{ffi::CStr, ptr};

use libc::c_char;

use crate::fork::SingleThread;

unsafe extern "C" {
    /// See environ(7): what the process was started with, until somebody changes it.
    static mut environ: *mut *mut c_char;
}

/// The value of a variable, of which nothing but its name and its length is left then. The first entry of a name counts, as for getenv(3).
#[must_use]
pub fn take(name: &str, _one: &SingleThread) -> Option<Vec<u8>> {
    let mut first = None;
    // NEEDED: no safe crate tells where the bytes lie. SAFETY: a read of a pointer that no other thread changes.
    let mut at = unsafe { ptr::addr_of!(environ).read() };
    while !at.is_null() {
        // NEEDED: see above. SAFETY: `environ` is a list of pointers that ends with a null pointer, and `at` is within it.
        let entry = unsafe { at.read() };
        if entry.is_null() {
            break;
        }
        // NEEDED: see above. SAFETY: every entry is a string that ends with a zero byte and lives as long as it is listed.
        let text = unsafe { CStr::from_ptr(entry) }.to_bytes();
        if let Some(value) = value_of(text, name) {
            let (skipped, length) = (text.len() - value.len(), value.len());
            first.get_or_insert_with(|| value.to_vec());
            // NEEDED: see above. SAFETY: the bytes are the process's own to write and end before the zero byte; nobody else reads them,
            // for there is no other thread, and the slices over them are not used any more.
            unsafe { ptr::write_bytes(entry.add(skipped), b'x', length) };
        }
        // NEEDED: see above. SAFETY: the entry was not the last, so the list goes on.
        at = unsafe { at.add(1) };
    }
    first
}

fn value_of<'text>(entry: &'text [u8], name: &str) -> Option<&'text [u8]> {
    entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_the_names_own() {
        assert_eq!(value_of(b"A=1=2", "A"), Some(&b"1=2"[..]));
        assert_eq!(value_of(b"AB=1", "A"), None);
        assert_eq!(value_of(b"A", "A"), None);
    }
}
