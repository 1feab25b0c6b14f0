//! One program as the agent: from the verb `Exec` to the new process. Never looks outside the sandbox's own PATH.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    unistd::{Pid, chdir, setsid},
};
use postern_contract::launch::Obstacle;
use postern_sys::{
    exec::{Image, become_program},
    fork::{SingleThread, fork},
};

/// Where programs are looked up.
const PATH: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// The most arguments and the most variables; the message is bounded too, this bounds what the kernel is asked.
const STRINGS_MAX: usize = 4_096;

/// What follows the error's number when it was not the program that failed: the working directory, or a descriptor that
/// would stay open.
const AT_DIRECTORY: u8 = b'd';
const AT_DESCRIPTOR: u8 = b'f';

/// Where a process finds its open descriptors; in octal behind `flags:`, this bit says that exec closes one.
const DESCRIPTORS: &str = "/proc/self/fdinfo";
const CLOSES: u32 = libc::O_CLOEXEC.cast_unsigned();

/// A program that can be started as far as its words go.
#[derive(Debug)]
pub(crate) struct Program {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: PathBuf,
}

/// A process between fork and exec.
#[derive(Debug)]
pub(crate) struct Starting {
    /// Its process id inside.
    pub(crate) pid: Pid,
    /// Becomes readable when it is known whether the program runs.
    pub(crate) failure: OwnedFd,
}

impl Program {
    /// Checks the verb's words.
    pub(crate) fn new(
        argv: Vec<String>,
        env: BTreeMap<String, String>,
        cwd: PathBuf,
    ) -> Result<Self, Obstacle> {
        if argv.len() > STRINGS_MAX || env.len() > STRINGS_MAX {
            return Err(Obstacle::plain(format!(
                "more than {STRINGS_MAX} arguments or variables"
            )));
        }
        if !cwd.is_absolute() {
            return Err(Obstacle::plain("cwd must be an absolute path"));
        }
        let name = argv.first().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Obstacle::plain("argv is empty"))?;
        let candidates = if name.contains('/') {
            vec![word(name.clone())?]
        } else {
            PATH.iter()
                .map(|dir| word(format!("{dir}/{name}")))
                .collect::<Result<_, _>>()?
        };
        let argv = argv.into_iter().map(word).collect::<Result<_, _>>()?;
        let env = env.into_iter().map(variable).collect::<Result<_, _>>()?;
        Ok(Self {
            candidates,
            argv,
            env,
            cwd,
        })
    }

    /// Starts the process, which leads a session and a process group of its own.
    pub(crate) fn start(
        self,
        one: &SingleThread,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<Starting> {
        let (failure, theirs) = io::pipe()?;
        let Self {
            candidates,
            argv,
            env,
            cwd,
        } = self;
        let child = move || {
            if let Err(errno) = enter(&cwd) {
                return told(theirs.into(), errno, AT_DIRECTORY);
            }
            if !all_close() {
                return told(theirs.into(), Errno::EBADF, AT_DESCRIPTOR);
            }
            let failure = theirs.into();
            become_program(Image {
                candidates,
                argv,
                env,
                descriptors,
                failure,
            })
        };
        let pid = fork(one, child)?;
        Ok(Starting {
            pid,
            failure: failure.into(),
        })
    }
}

fn enter(cwd: &Path) -> Result<(), Errno> {
    setsid()?;
    chdir(cwd)
}

/// Whether exec closes everything that this process has; what the program shall have is put in place after it. Without a
/// /proc nobody can tell, and the marks are all there is.
fn all_close() -> bool {
    let Ok(open) = fs::read_dir(DESCRIPTORS) else {
        return true;
    };
    open.filter_map(Result::ok)
        // The three that every process has, which the program's own take the place of.
        .filter(|entry| !["0", "1", "2"].iter().any(|own| entry.file_name() == *own))
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .all(|info| closes(&info))
}

fn closes(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok());
    flags.is_some_and(|flags| flags & CLOSES != 0)
}

fn told(failure: OwnedFd, errno: Errno, place: u8) -> u8 {
    let mut message = (errno as i32).to_ne_bytes().to_vec();
    message.push(place);
    // The exit code says it too.
    let _told = File::from(failure).write_all(&message);
    1
}

/// What the process said before it became the program: nothing if it did.
pub(crate) fn outcome(failure: OwnedFd) -> Result<(), Obstacle> {
    let mut said = Vec::new();
    let read = File::from(failure).take(16).read_to_end(&mut said);
    read.map_err(|error| Obstacle::plain(format!("cannot tell whether it started: {error}")))?;
    match *said.as_slice() {
        [] => Ok(()),
        [a, b, c, d, ref place @ ..] => {
            let errno = Errno::from_raw(i32::from_ne_bytes([a, b, c, d]));
            let what = match place {
                [] => "the program",
                [AT_DESCRIPTOR] => "a descriptor that it must not have would stay open",
                _ => "the working directory",
            };
            Err(Obstacle::plain(format!("{what}: {errno}")))
        }
        _ => Err(Obstacle::plain("it did not start")),
    }
}

fn word(text: String) -> Result<CString, Obstacle> {
    CString::new(text).map_err(|_| Obstacle::plain("a NUL byte in an argument or variable"))
}

fn variable((name, value): (String, String)) -> Result<CString, Obstacle> {
    if name.is_empty() || name.contains('=') {
        return Err(Obstacle::plain(format!(
            "{name:?} cannot be a variable's name"
        )));
    }
    word(format!("{name}={value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(argv: &[&str]) -> Result<Program, Obstacle> {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        Program::new(argv, BTreeMap::new(), "/".into())
    }

    #[test]
    fn a_bare_name_is_looked_up_and_a_path_is_not() {
        assert_eq!(
            program(&["sh"]).unwrap().candidates[2],
            c"/bin/sh".to_owned()
        );
        assert_eq!(
            program(&["/bin/sh"]).unwrap().candidates,
            [c"/bin/sh".to_owned()]
        );
    }

    #[test]
    fn a_descriptor_that_exec_leaves_open_is_seen() {
        assert!(closes("pos:\t0\nflags:\t02100000\nmnt_id:\t15\n"));
        assert!(!closes("pos:\t0\nflags:\t0100000\nmnt_id:\t15\n"));
        assert!(!closes(""));
        let kept = tempfile::tempfile().unwrap();
        nix::fcntl::fcntl(
            &kept,
            nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
        )
        .unwrap();
        assert!(!all_close());
    }

    #[test]
    fn words_that_the_kernel_would_cut_are_refused() {
        assert!(program(&[]).is_err());
        assert!(program(&[""]).is_err());
        assert!(program(&["sh", "a\0b"]).is_err());
        for (name, value) in [("", "x"), ("A=B", "x"), ("A", "x\0y"), ("A\0", "x")] {
            assert!(
                variable((name.to_owned(), value.to_owned())).is_err(),
                "{name:?}"
            );
        }
        assert!(Program::new(vec!["sh".to_owned()], BTreeMap::new(), "tmp".into()).is_err());
    }
}
