//! A copy of the example in a fresh temporary directory, packed and edited for this machine. Never changes the original:
//! it is embedded in this executable.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;
use toml_edit::{DocumentMut, value};

use crate::{Failure, identity::Mode, terminal::say};

/// The Python edition's config.
const CODED: &str = include_str!("../../../../examples/support-desk/postern.toml");

/// The code-less edition's config.
const CODELESS: &str = include_str!("../../../../examples/support-desk/builtin.toml");

/// The agent's files.
const AGENT: &[(&str, &str)] = &[
    (
        "agent.py",
        include_str!("../../../../examples/support-desk/agent/agent.py"),
    ),
    (
        "probe.py",
        include_str!("../../../../examples/support-desk/agent/probe.py"),
    ),
];

/// The credential: made up, and it opens nothing but the tour's own order service.
pub(super) const KEY: &str =
    include_str!("../../../../examples/support-desk/secrets/orders.key").trim_ascii_end();

/// Where a sandbox looks for an interpreter.
const SANDBOX_PATH: &[&str] = &["/usr/local/bin", "/usr/bin", "/bin"];

/// Which of the two configs is toured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edition {
    /// The Python agent in a sandbox.
    Coded,
    /// The agent without code.
    Codeless,
}

impl Edition {
    /// The Python agent where a sandbox has a python3, and says so where not.
    pub(super) fn for_this_machine() -> Self {
        if SANDBOX_PATH
            .iter()
            .any(|directory| Path::new(directory).join("python3").exists())
        {
            return Self::Coded;
        }
        say(&format!(
            "There is no python3 on {}: the tour takes the agent without code.",
            SANDBOX_PATH.join(":")
        ));
        Self::Codeless
    }
}

/// The staged copy; it goes with this value.
#[derive(Debug)]
pub(super) struct Stage {
    directory: TempDir,
}

impl Stage {
    /// Writes the copy: the order service's address and the listeners put in, the agent packed, the key private.
    pub(super) fn set(
        edition: Edition,
        mode: Mode,
        (orders, listen): (SocketAddr, (SocketAddr, SocketAddr)),
    ) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::Run(format!("staging the example: {error}"));
        let directory = tempfile::Builder::new()
            .prefix("postern-tour-")
            .tempdir()
            .map_err(failed)?;
        let stage = Self { directory };
        let text = match edition {
            Edition::Coded => CODED,
            Edition::Codeless => CODELESS,
        };
        let config = edited(text, orders, listen)
            .map_err(|error| Failure::Run(format!("the embedded example: {error}")))?;
        stage.write(mode, &config).map_err(failed)?;
        Ok(stage)
    }

    /// The config.
    pub(super) fn config(&self) -> PathBuf {
        self.directory.path().join("postern.toml")
    }

    /// The state directory that the daemons shall make.
    pub(super) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Where the daemons' standard error goes.
    pub(super) fn log(&self) -> PathBuf {
        self.directory.path().join("daemons.log")
    }

    fn write(&self, mode: Mode, config: &str) -> io::Result<()> {
        let top = self.directory.path();
        // The daemons' own users must be able to pass; what is private below is private by itself.
        fs::set_permissions(top, fs::Permissions::from_mode(0o711))?;
        written(&self.config(), config.as_bytes(), 0o644)?;
        written(&top.join("support-desk.tar.gz"), &packed()?, 0o644)?;
        let secrets = top.join("secrets");
        fs::create_dir(&secrets)?;
        fs::set_permissions(&secrets, fs::Permissions::from_mode(0o711))?;
        let key = secrets.join("orders.key");
        written(&key, KEY.as_bytes(), 0o600)?;
        if mode == Mode::Root {
            chown(&key, Some(mode.gate_uid()), Some(mode.gate_uid()))?;
        }
        Ok(())
    }
}

fn written(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn edited(
    text: &str,
    orders: SocketAddr,
    (api, operator): (SocketAddr, SocketAddr),
) -> Result<String, toml_edit::TomlError> {
    let mut document: DocumentMut = text.parse()?;
    document["listen"]["api"] = value(api.to_string());
    document["listen"]["operator"] = value(operator.to_string());
    document["tools"]["orders"]["url"] = value(format!("http://{orders}"));
    Ok(document.to_string())
}

/// The agent as `.tar.gz`.
fn packed() -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, content) in AGENT {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content.as_bytes())?;
    }
    archive.into_inner()?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_editions_take_the_tours_addresses() {
        let (orders, api, operator) = (
            ([127, 0, 0, 1], 1).into(),
            ([127, 0, 0, 1], 2).into(),
            ([127, 0, 0, 1], 3).into(),
        );
        for text in [CODED, CODELESS] {
            let document: DocumentMut = edited(text, orders, (api, operator))
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(
                document["tools"]["orders"]["url"].as_str(),
                Some("http://127.0.0.1:1")
            );
            assert_eq!(document["listen"]["api"].as_str(), Some("127.0.0.1:2"));
            assert_eq!(document["listen"]["operator"].as_str(), Some("127.0.0.1:3"));
        }
    }

    #[test]
    fn the_archive_holds_the_agent_and_the_stage_keeps_the_key_private() {
        let bytes = packed().unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
        assert_eq!(archive.entries().unwrap().count(), AGENT.len());
        let here = ([127, 0, 0, 1], 0).into();
        let mode = Mode::of_caller();
        let stage = Stage::set(Edition::Coded, mode, (here, (here, here))).unwrap();
        let key = stage.directory.path().join("secrets/orders.key");
        assert_eq!(
            fs::metadata(&key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_to_string(key).unwrap(), KEY);
    }
}
