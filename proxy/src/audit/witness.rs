//! Where heads are sent, so that somebody else holds them when the log is tampered with: a file that is only appended to,
//! and the system's journal or log where there is one. Never waits for a reader, and never takes a head back.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
};

use super::{chain::opened, head::Head};

/// The journal's own socket, and the older one that any syslog has.
const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";

/// How heads are found again: `journalctl -t postern-audit -o cat`.
const IDENTIFIER: &str = "postern-audit";

/// Facility `authpriv`, severity `informational`, as RFC 3164 counts them.
const PRIORITY: u8 = 10 * 8 + 6;

/// How long the file of heads may get, in bytes; the one before it is kept beside it.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// All places that heads are sent to.
pub(super) struct Witness {
    path: PathBuf,
    file: File,
    length: u64,
    /// Whether what stands last may be half a line.
    unsure: bool,
    system: Option<System>,
}

/// The system's own log.
struct System {
    socket: UnixDatagram,
    journal: PathBuf,
    syslog: PathBuf,
}

impl Witness {
    /// Heads go to this file and to the system's log, where there is one.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = opened(path)?;
        let length = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            length,
            unsure: length > 0,
            file,
            system: System::new(JOURNAL, SYSLOG)
                .inspect_err(|error| tracing::warn!(%error, "heads go to their file alone"))
                .ok(),
        })
    }

    /// Sends one head everywhere; the file's copy is on the disk when this returns.
    pub(super) fn send(&mut self, head: &Head) -> io::Result<()> {
        let mut line = serde_json::to_string(head)?;
        if let Some(system) = &self.system {
            system.send(&line);
        }
        line.push('\n');
        if std::mem::replace(&mut self.unsure, true) {
            line.insert(0, '\n');
        }
        if self.length > FILE_BYTES_MAX {
            self.begin_anew()?;
        }
        self.file.write_all(line.as_bytes())?;
        self.length += line.len() as u64;
        self.unsure = false;
        self.file.sync_data()
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        fs::rename(&self.path, older(&self.path))?;
        self.file = opened(&self.path)?;
        self.length = 0;
        Ok(())
    }
}

/// Where the heads before those of a file are.
#[must_use]
pub fn older(heads: &Path) -> PathBuf {
    let mut name = heads.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

impl System {
    fn new(journal: impl Into<PathBuf>, syslog: impl Into<PathBuf>) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            journal: journal.into(),
            syslog: syslog.into(),
        })
    }

    /// Sends to whoever listens. That nobody does is no fault: the file has every head.
    fn send(&self, text: &str) {
        let native = format!("MESSAGE={text}\nPRIORITY=6\nSYSLOG_IDENTIFIER={IDENTIFIER}\n");
        let plain = format!("<{PRIORITY}>{IDENTIFIER}: {text}");
        let sent = self
            .socket
            .send_to(native.as_bytes(), &self.journal)
            .or_else(|_| self.socket.send_to(plain.as_bytes(), &self.syslog));
        if let Err(error) = sent {
            tracing::debug!(%error, "a head went to its file alone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(seq: u64) -> Head {
        Head {
            time: "now".to_owned(),
            seq,
            hash: "ab".to_owned(),
            key: "k".to_owned(),
            mac: "cd".to_owned(),
        }
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn the_journal_is_told_and_where_there_is_none_the_syslog() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, syslog) = (directory.path().join("j"), directory.path().join("s"));
        let listening = UnixDatagram::bind(&syslog).unwrap();
        let system = System::new(&journal, &syslog).unwrap();
        system.send("{}");
        assert_eq!(received(&listening), "<86>postern-audit: {}");
        let native = UnixDatagram::bind(&journal).unwrap();
        system.send("{}");
        let text = received(&native);
        assert!(text.starts_with("MESSAGE={}\n"), "{text}");
        assert!(
            text.contains("\nSYSLOG_IDENTIFIER=postern-audit\n"),
            "{text}"
        );
    }

    #[test]
    fn heads_are_only_ever_added_and_a_long_file_is_kept_beside_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.heads");
        for seq in 1..3 {
            let mut witness = Witness::open(&path).unwrap();
            witness.send(&head(seq)).unwrap();
        }
        let heads = |path: &Path| {
            let text = fs::read_to_string(path).unwrap();
            text.lines().filter(|line| !line.is_empty()).count()
        };
        assert_eq!(heads(&path), 2);
        let mut witness = Witness::open(&path).unwrap();
        witness.length = FILE_BYTES_MAX + 1;
        witness.send(&head(3)).unwrap();
        assert_eq!((heads(&path), heads(&older(&path))), (1, 2));
    }
}
