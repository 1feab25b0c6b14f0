//! One program as the agent: from the verb `Exec` to the new process. Never looks anywhere but on the program's own PATH.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::wait::{Id, WaitPidFlag, waitid},
    unistd::{Pid, chdir, setsid},
};
use postern_contract::launch::Obstacle;
use postern_sys::{
    exec::{Image, close_all_on_exec},
    fork::{SingleThread, fork},
};

/// Where programs are looked up that have no PATH of their own.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The most directories in which a program is looked up.
const DIRECTORIES_MAX: usize = 16;

/// The most arguments and the most variables; the message is bounded too, this bounds what the kernel is asked.
const STRINGS_MAX: usize = 4_096;

/// What may fail.
const THE_DIRECTORY: &str = "the working directory";
const THE_PROGRAM: &str = "the program";

/// What follows the error's number when it was the working directory that failed.
const AT_DIRECTORY: u8 = b'd';

/// A program that can be started as far as its words go.
#[derive(Debug)]
pub(crate) struct Program {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: PathBuf,
}

/// A process of which the program is asked.
#[derive(Debug)]
pub(crate) enum Started {
    /// It has become the program.
    Runs(Pid),
    /// It is between fork and exec; the descriptor becomes readable when it is known whether the program runs.
    Starts(Pid, OwnedFd),
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
            let path = env.get("PATH").map_or(PATH, String::as_str);
            let directories = path.split(':').filter(|dir| dir.starts_with('/'));
            directories
                .take(DIRECTORIES_MAX)
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

    /// Starts the process, which leads a session and a process group of its own. It has the given descriptors from number 0 on;
    /// of everything else that this process has open it gets nothing, whoever forgot to mark it. This process may stand in
    /// the program's working directory then.
    pub(crate) fn start(
        self,
        one: &SingleThread,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Started, Obstacle> {
        close_all_on_exec().map_err(|error| {
            Obstacle::plain(format!(
                "a descriptor that it must not have would stay open: {error}"
            ))
        })?;
        let Self {
            candidates,
            argv,
            env,
            cwd,
        } = self;
        let image = Image {
            candidates,
            argv,
            env,
            descriptors,
        };
        let starts_a_copy = |error| Obstacle::plain(format!("cannot start a process: {error}"));
        if !is_alone() {
            return forked(one, image, &cwd).map_err(starts_a_copy);
        }
        chdir(&cwd).map_err(at(THE_DIRECTORY))?;
        match image.spawn() {
            // Where the limit on private memory is already behind what this executable's allocator has set aside, there is no
            // room for as much as a stack. A copy needs none.
            Err(Errno::ENOMEM) => forked(one, image, &cwd).map_err(starts_a_copy),
            spawned => spawned.map_err(at(THE_PROGRAM)).map(Started::Runs),
        }
    }
}

/// Whether nothing runs in the namespace but this process, its first: orphans become its children. Only then is there nobody
/// who could stop the new process while this one has to wait for it.
pub(crate) fn is_alone() -> bool {
    let any = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, any) == Err(Errno::ECHILD)
}

/// Starts a copy of this process that becomes the program; this one waits for nothing.
fn forked(one: &SingleThread, image: Image, cwd: &Path) -> io::Result<Started> {
    let (failure, theirs) = io::pipe()?;
    let child = move || match setsid().and_then(|_| chdir(cwd)) {
        Ok(()) => image.take_over(theirs.into()),
        Err(errno) => told(theirs.into(), errno),
    };
    let pid = fork(one, child)?;
    Ok(Started::Starts(pid, failure.into()))
}

fn told(failure: OwnedFd, errno: Errno) -> u8 {
    let mut message = (errno as i32).to_ne_bytes().to_vec();
    message.push(AT_DIRECTORY);
    // The exit code says it too.
    let _told = File::from(failure).write_all(&message);
    1
}

/// What the process said before it became the program: nothing if it did. Takes what is there, for the process may be stopped
/// before it closes the pipe, and what it says is written at once.
pub(crate) fn outcome(failure: OwnedFd) -> Result<(), Obstacle> {
    let mut said = [0; 16];
    let read = File::from(failure).read(&mut said);
    let length =
        read.map_err(|error| Obstacle::plain(format!("cannot tell whether it started: {error}")))?;
    match *said.get(..length).unwrap_or_default() {
        [] => Ok(()),
        [a, b, c, d, ref place @ ..] => {
            let what = match place {
                [AT_DIRECTORY] => THE_DIRECTORY,
                _ => THE_PROGRAM,
            };
            let errno = Errno::from_raw(i32::from_ne_bytes([a, b, c, d]));
            Err(at(what)(errno))
        }
        _ => Err(Obstacle::plain("it did not start")),
    }
}

fn at(what: &str) -> impl FnOnce(Errno) -> Obstacle {
    move |errno| Obstacle::plain(format!("{what}: {errno}"))
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
