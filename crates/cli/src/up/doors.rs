//! What the supervisor waits on: signals, posternd's connections, readiness, its own lifeline. Never blocks in any of them.

use std::{
    fs,
    io::{self, IoSliceMut},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{fs::PermissionsExt, net::UnixDatagram},
    },
    path::Path,
};

use nix::{
    cmsg_space,
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        socket::{
            ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt, sockopt::PassCred,
        },
    },
    unistd::read,
};
use postern_sys::seqpacket;

use super::place::Place;
use crate::{Failure, identity::Mode};

/// The longest readiness message that is read, in bytes.
const NOTIFY_BYTES_MAX: usize = 4096;

/// The most connections and the most messages that one look takes in; the rest waits for the next.
const ARRIVALS_MAX: usize = 64;

/// Signals, blocked and read from a descriptor. Children take the mask over and clear it themselves.
pub(super) struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals that the supervisor handles.
    pub(super) fn block() -> Result<Self, Failure> {
        let failed = |error| Failure::Run(format!("signals: {error}"));
        let mut set = SigSet::empty();
        for signal in [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGCHLD,
        ] {
            set.add(signal);
        }
        set.thread_block().map_err(failed)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags).map(Self).map_err(failed)
    }

    /// How many times somebody asked the supervisor to stop since the last look, and whether to read the config anew.
    fn asked(&self) -> (usize, bool) {
        let pending = std::iter::from_fn(|| self.0.read_signal().ok().flatten());
        let (mut stops, mut reload) = (0, false);
        for signal in pending {
            match signal.ssi_signo.cast_signed() {
                libc::SIGCHLD => {}
                // Somebody sent it; a terminal that went away makes the kernel send it, and then nobody is left to serve.
                libc::SIGHUP if signal.ssi_code <= libc::SI_USER => reload = true,
                _ => stops += 1,
            }
        }
        (stops, reload)
    }
}

/// Everything that the supervisor waits on.
pub(super) struct Doors {
    signals: Signals,
    launcher: OwnedFd,
    notify: UnixDatagram,
    lifeline: Option<OwnedFd>,
}

/// What one wait brought.
#[derive(Default)]
pub(super) struct Arrived {
    /// Requests to stop.
    pub(super) stops: usize,
    /// Whether the config is to be read anew.
    pub(super) reload: bool,
    /// Connections to the launcher's socket.
    pub(super) connections: Vec<OwnedFd>,
    /// Readiness messages and the pids that sent them.
    pub(super) notes: Vec<(i32, String)>,
}

impl Doors {
    /// Binds the sockets of this run.
    pub(super) fn open(
        place: &Place,
        mode: Mode,
        signals: Signals,
        lifeline: bool,
    ) -> Result<Self, Failure> {
        let launcher = bind(&place.launcher_socket(), mode, |path| {
            let listener = seqpacket::listen(path)?;
            nonblocking(listener.as_fd())?;
            Ok(listener)
        })?;
        let notify = bind(&place.notify_socket(), mode, |path| {
            let socket = UnixDatagram::bind(path)?;
            socket.set_nonblocking(true)?;
            setsockopt(&socket, PassCred, &true)?;
            Ok(socket)
        })?;
        let lifeline = lifeline
            .then(|| io::stdin().as_fd().try_clone_to_owned())
            .transpose();
        let lifeline =
            lifeline.map_err(|error| Failure::Run(format!("standard input: {error}")))?;
        Ok(Self {
            signals,
            launcher,
            notify,
            lifeline,
        })
    }

    /// Waits until something arrives, a child ends, or the time is over.
    pub(super) fn wait(&mut self, timeout: PollTimeout) -> io::Result<Arrived> {
        let mut watched = vec![
            PollFd::new(self.signals.0.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.launcher.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.notify.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(lifeline) = &self.lifeline {
            watched.push(PollFd::new(lifeline.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut watched, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let cut = watched
            .get(3)
            .is_some_and(|lifeline| lifeline.revents().is_some_and(|events| !events.is_empty()));
        let (stops, reload) = self.signals.asked();
        Ok(Arrived {
            stops: stops + usize::from(cut && self.lifeline_is_cut()),
            reload,
            connections: std::iter::from_fn(|| seqpacket::accept(self.launcher.as_fd()).ok())
                .take(ARRIVALS_MAX)
                .collect(),
            notes: std::iter::from_fn(|| self.note())
                .take(ARRIVALS_MAX)
                .collect(),
        })
    }

    fn lifeline_is_cut(&mut self) -> bool {
        let ended = |fd: &OwnedFd| !matches!(read(fd, &mut [0; 64]), Ok(1..));
        let cut = self.lifeline.as_ref().is_some_and(ended);
        if cut {
            self.lifeline = None;
        }
        cut
    }

    /// The next readiness message, with the pid that the kernel vouches for; a broken one is an empty text.
    fn note(&self) -> Option<(i32, String)> {
        let mut buffer = [0; NOTIFY_BYTES_MAX];
        let mut space = cmsg_space!(UnixCredentials);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let got =
            recvmsg::<()>(self.notify.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
        let pid = got
            .cmsgs()
            .ok()
            .into_iter()
            .flatten()
            .find_map(|message| match message {
                ControlMessageOwned::ScmCredentials(sender) => Some(sender.pid()),
                _ => None,
            });
        let length = got.bytes;
        let text = std::str::from_utf8(&buffer[..length]).unwrap_or_default();
        Some((pid.unwrap_or(0), text.to_owned()))
    }
}

/// Binds a socket that the daemons' uids can reach; who may use it is decided by the peer's credentials.
fn bind<T>(
    path: &Path,
    mode: Mode,
    make: impl FnOnce(&Path) -> io::Result<T>,
) -> Result<T, Failure> {
    let bits = match mode {
        Mode::Root => 0o666,
        Mode::Ordinary(_) => 0o600,
    };
    let made = make(path).and_then(|socket| {
        fs::set_permissions(path, fs::Permissions::from_mode(bits))?;
        Ok(socket)
    });
    made.map_err(|error| Failure::path(path, error))
}

fn nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
