//! What the daemons said about themselves, in the protocol of sd_notify(3). Never believes a pid that is no daemon's.

use std::net::SocketAddr;

use postern_contract::config::Listen;

/// Who is ready, and where the APIs really listen: a port 0 in the config becomes a real one.
#[derive(Debug)]
pub(super) struct Readiness {
    runtime: bool,
    gate: bool,
    listen: Listen,
}

/// Which daemon said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Daemon {
    /// posternd.
    Runtime,
    /// The gate.
    Gate,
}

/// What a message means to the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing new.
    Nothing,
    /// With it both daemons are ready.
    AllReady,
    /// The daemon is on its way out.
    Stopping,
}

impl Readiness {
    /// Nobody is ready yet.
    pub(super) fn new(listen: Listen) -> Self {
        Self {
            runtime: false,
            gate: false,
            listen,
        }
    }

    /// Takes one message in.
    pub(super) fn hear(&mut self, daemon: Daemon, message: &str) -> Heard {
        let before = self.is_complete();
        for line in message.lines() {
            if line == "STOPPING=1" {
                return Heard::Stopping;
            }
            match line.split_once('=') {
                Some(("READY", "1")) if daemon == Daemon::Runtime => self.runtime = true,
                Some(("READY", "1")) => self.gate = true,
                Some(("STATUS", status)) if daemon == Daemon::Runtime => self.place(status),
                _ => {}
            }
        }
        if !before && self.is_complete() {
            Heard::AllReady
        } else {
            Heard::Nothing
        }
    }

    fn is_complete(&self) -> bool {
        self.runtime && self.gate
    }

    /// Where the APIs listen.
    pub(super) fn listen(&self) -> &Listen {
        &self.listen
    }

    /// posternd's status line holds `api=ADDRESS` and `operator=ADDRESS` among other words.
    fn place(&mut self, status: &str) {
        for word in status.split_whitespace() {
            let Some((key, address)) = word.split_once('=') else {
                continue;
            };
            let Ok(address) = address.parse::<SocketAddr>() else {
                continue;
            };
            match key {
                "api" => self.listen.api = address,
                "operator" => self.listen.operator = address,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_daemons_and_the_real_ports() {
        let mut readiness = Readiness::new(Listen::default());
        let cases = [
            (Daemon::Gate, "READY=1", Heard::Nothing),
            (Daemon::Gate, "STATUS=api=9.9.9.9:9", Heard::Nothing),
            (
                Daemon::Runtime,
                "STATUS=serving api=127.0.0.1:41 operator=[::1]:42 x",
                Heard::Nothing,
            ),
            (Daemon::Runtime, "READY=1\nMAINPID=1", Heard::AllReady),
            (Daemon::Runtime, "READY=1", Heard::Nothing),
            (Daemon::Gate, "STOPPING=1", Heard::Stopping),
        ];
        for (daemon, message, heard) in cases {
            assert_eq!(readiness.hear(daemon, message), heard, "{message}");
        }
        assert_eq!(readiness.listen().api.to_string(), "127.0.0.1:41");
        assert_eq!(readiness.listen().operator.to_string(), "[::1]:42");
    }
}
