//! Another program (posix_spawn(3), execve(2)) with exactly the descriptors, signals and environment that were asked for.
//! Never searches the environment.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Write},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use libc::{c_int, c_uint};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn},
    sys::signal::{SigSet, SigmaskHow, sigprocmask},
    unistd::{Pid, execve},
};

/// `POSIX_SPAWN_SETSID` (spawn.h), which nix has no name for.
const NEW_SESSION: PosixSpawnFlags = PosixSpawnFlags::from_bits_retain(0x80);

/// Where descriptors wait while the low numbers are handed out; no image has more of them than this. A process whose limit
/// of open files is not well above it starts nothing.
const PARKING: RawFd = 16;

/// The exit code of a process that could not become the program.
const NOT_STARTED: c_int = 127;

/// What to start.
#[derive(Debug)]
pub struct Image {
    /// Paths to try, in order; the first that exists is it.
    pub candidates: Vec<CString>,
    /// The arguments, the name first.
    pub argv: Vec<CString>,
    /// The whole environment.
    pub env: Vec<CString>,
    /// These become descriptors 0, 1, 2, …; they have numbers from 3 on.
    pub descriptors: Vec<OwnedFd>,
}

/// Marks every descriptor from number 3 on close-on-exec, also those that were inherited.
///
/// # Errors
/// `ENOSYS` before Linux 5.11.
pub fn close_all_on_exec() -> io::Result<()> {
    Ok(close_on_exec_from(3)?)
}

fn close_on_exec_from(first: c_uint) -> Result<(), Errno> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // NEEDED: neither std nor nix has close_range. SAFETY: with this flag nothing is closed now.
    let code = unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, flags) };
    Errno::result(code)?;
    Ok(())
}

impl Image {
    /// Starts the program in this process's working directory: the leader of a session and a group of its own, every signal
    /// default and unblocked, with the image's descriptors and those of the numbers 0 to 2 that it does not replace. Others
    /// stay open only where they are not close-on-exec. Returns when the program runs: the new process borrows this one's
    /// memory until then instead of having a copy made of it. So this process sleeps until then, and whoever can stop the
    /// new one meanwhile stops this one for good: only for where nobody else can send it signals.
    ///
    /// The C library has two signals of its own, 32 and 33, which the program finds ignored; nobody may name them.
    ///
    /// # Errors
    /// As execve(2) says; that a file may not be run comes before that another one is not there. `EMFILE` for a descriptor
    /// that would be overwritten before its turn.
    pub fn spawn(&self) -> Result<Pid, Errno> {
        let (actions, attributes) = (self.actions()?, attributes()?);
        let mut found = Errno::ENOENT;
        for path in &self.candidates {
            match posix_spawn(
                path.as_c_str(),
                &actions,
                &attributes,
                &self.argv,
                &self.env,
            ) {
                // Not here; another place may have it. What was found but may not be run is the better answer.
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(Errno::EACCES) => found = Errno::EACCES,
                other => return other,
            }
        }
        Err(found)
    }

    /// Becomes the program in this very process, which somebody forked for it: every signal default and unblocked, no
    /// descriptor beside the image's. If that cannot be, `failure` gets the number of the error (4 bytes, native order), and
    /// the process exits with 127; if it can, `failure` just closes.
    pub fn take_over(self, failure: OwnedFd) -> ! {
        // Parked first: its number may be one that is handed out.
        let (failure, errno) = match park(&failure) {
            Ok(parked) => (parked, self.exec()),
            Err(errno) => (failure, errno),
        };
        // Nobody is left to hear about an error here.
        let _told = File::from(failure).write_all(&(errno as i32).to_ne_bytes());
        // NEEDED: std's exit would run what the parent registered. SAFETY: ends this process only.
        unsafe { libc::_exit(NOT_STARTED) }
    }

    fn exec(&self) -> Errno {
        if let Err(errno) = arrange(&self.descriptors).and_then(|()| default_signals()) {
            return errno;
        }
        let mut found = Errno::ENOENT;
        for path in &self.candidates {
            let Err(errno) = execve(path, &self.argv, &self.env);
            match errno {
                // As in `spawn`.
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::EACCES => found = errno,
                other => return other,
            }
        }
        found
    }

    /// Gives the descriptors their numbers.
    fn actions(&self) -> Result<PosixSpawnFileActions, Errno> {
        let mut actions = PosixSpawnFileActions::init()?;
        for (number, from) in (0..c_int::MAX).zip(&self.descriptors) {
            // Numbers are handed out from below, so only what has a lower one than its own is gone by then.
            if from.as_raw_fd() < number.max(3) {
                return Err(Errno::EMFILE);
            }
            actions.add_dup2(from.as_raw_fd(), number)?;
        }
        Ok(actions)
    }
}

/// What is ignored would stay ignored over exec (std ignores SIGPIPE), and so would what is blocked.
fn attributes() -> Result<PosixSpawnAttr, Errno> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        NEW_SESSION
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
    )?;
    attributes.set_sigdefault(&SigSet::all())?;
    attributes.set_sigmask(&SigSet::empty())?;
    Ok(attributes)
}

/// Gives the descriptors their numbers in this process and lets all others go at exec.
fn arrange(descriptors: &[OwnedFd]) -> Result<(), Errno> {
    let count = c_int::try_from(descriptors.len()).unwrap_or(c_int::MAX);
    if count > PARKING {
        return Err(Errno::EMFILE);
    }
    let parked = descriptors
        .iter()
        .map(park)
        .collect::<Result<Vec<_>, _>>()?;
    for (number, from) in (0..count).zip(&parked) {
        // NEEDED: nix replaces only descriptors that somebody owns by value. SAFETY: what had this number is lost to its
        // owner, but none of this process's code but `take_over` runs again, and that uses `parked` numbers.
        Errno::result(unsafe { libc::dup2(from.as_raw_fd(), number) })?;
    }
    close_on_exec_from(count.max(3).cast_unsigned())
}

fn park(fd: &OwnedFd) -> Result<OwnedFd, Errno> {
    let raw = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(PARKING))?;
    // NEEDED: nix returns a bare number here. SAFETY: the kernel just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn default_signals() -> Result<(), Errno> {
    for number in 1..=libc::SIGRTMAX() {
        // NEEDED: nix calls this unsafe too. SAFETY: installs no handler. SIGKILL and SIGSTOP refuse, which is fine.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, pipe},
    };

    use nix::sys::wait::waitpid;

    use super::*;

    fn said(candidates: &[&str], argv: &[&str]) -> Result<String, Errno> {
        let word = |text: &&str| CString::new(*text).unwrap();
        let (mut read, write) = pipe().unwrap();
        let null: OwnedFd = File::open("/dev/null").unwrap().into();
        let image = Image {
            candidates: candidates.iter().map(word).collect(),
            argv: argv.iter().map(word).collect(),
            env: vec![c"ONLY=this".to_owned()],
            descriptors: vec![null, write.into()],
        };
        let pid = image.spawn()?;
        drop(image);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        waitpid(pid, None).unwrap();
        Ok(text)
    }

    #[test]
    fn a_program_leads_a_session_and_has_this_environment_alone() {
        let script = "set -- $(cat /proc/self/stat); [ $6 = $$ ] && env";
        let text = said(&["/nowhere/sh", "/bin/sh"], &["sh", "-c", script]).unwrap();
        assert!(text.contains("ONLY=this\n"), "{text}");
        assert!(!text.contains("PATH="), "{text}");
    }

    #[test]
    fn what_nobody_marked_is_closed_all_the_same() {
        let null = File::open("/dev/null").unwrap();
        // Far from what the shell itself opens.
        let forgotten = fcntl(&null, FcntlArg::F_DUPFD(100)).unwrap();
        close_all_on_exec().unwrap();
        let text = said(&["/bin/sh"], &["sh", "-c", "echo /proc/self/fd/*"]).unwrap();
        let number = format!("/proc/self/fd/{forgotten}");
        assert!(text.starts_with("/proc/self/fd/0 "), "{text}");
        assert!(
            !text.split_whitespace().any(|open| open == number),
            "{text}"
        );
    }

    #[test]
    fn what_is_there_and_may_not_be_run_is_the_better_answer() {
        assert_eq!(said(&["/nowhere"], &["x"]), Err(Errno::ENOENT));
        assert_eq!(
            said(&["/etc/passwd", "/nowhere"], &["x"]),
            Err(Errno::EACCES)
        );
    }
}
