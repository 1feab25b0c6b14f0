//! An /etc that is written for the sandbox: who the agent is, where names are asked, what certificates are trusted.
//! Never the host's own, which tells much about the host.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use postern_contract::launch::{AGENT_HOME, AGENT_UID, TRUSTED};
use postern_sys::mount::Attributes;

use super::{overlay::Overlays, tree::bind_if_there};

/// Of the host's /etc, what programs need to run at all: where alternatives and libraries are, whom to trust.
const SHOWN: [&str; 4] = [
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
];

/// Where libraries that come from elsewhere look for what lies at [`TRUSTED`].
const TRUSTED_TOO: [&str; 2] = ["etc/ssl/cert.pem", "etc/pki/tls/certs/ca-bundle.crt"];

/// Where time zones are kept, inside and outside.
const ZONES: &str = "/usr/share/zoneinfo";

/// Writes /etc in the working directory. Whom to trust is the host's own list, unless the plan brings another.
pub(super) fn write(
    hostname: &str,
    brings_trusted: bool,
    overlays: &mut Overlays,
) -> io::Result<()> {
    fs::create_dir("etc")?;
    for (name, text) in files(hostname) {
        fs::write(Path::new("etc").join(name), text)?;
    }
    if let Some(zone) = zone() {
        symlink(zone, "etc/localtime")?;
    }
    for path in TRUSTED_TOO.map(Path::new) {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        symlink(TRUSTED, path)?;
    }
    let host_trusts = (!brings_trusted).then_some(TRUSTED);
    for path in SHOWN.into_iter().chain(host_trusts).map(Path::new) {
        if bind_if_there(path, Attributes::READ_ONLY)? {
            overlays.cover(&path.components().skip(1).collect::<PathBuf>());
        }
    }
    Ok(())
}

fn files(hostname: &str) -> [(&'static str, String); 6] {
    let agent = format!("agent:x:{AGENT_UID}:{AGENT_UID}:agent:{AGENT_HOME}:/bin/sh\n");
    let nobody = "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
    let hosts = format!("127.0.0.1 localhost {hostname}\n::1 localhost\n");
    [
        ("passwd", agent + nobody),
        ("group", format!("agent:x:{AGENT_UID}:\nnogroup:x:65534:\n")),
        ("hosts", hosts),
        ("hostname", format!("{hostname}\n")),
        ("resolv.conf", "nameserver 127.0.0.1\n".to_owned()),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\n".to_owned(),
        ),
    ]
}

/// The host's time zone, where it is one of those that every system has.
fn zone() -> Option<PathBuf> {
    let link = fs::read_link("/etc/localtime").ok()?;
    let whole = Path::new("/etc").join(link);
    let zone = whole.to_str()?.rsplit_once("zoneinfo/")?.1;
    (!zone.contains("..")).then(|| Path::new(ZONES).join(zone))
}
