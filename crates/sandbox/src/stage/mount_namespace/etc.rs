//! An /etc that is written for the sandbox: who the agent is, where names are asked, what certificates are trusted.
//! Never the host's own, which tells much about the host.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use postern_contract::launch::{AGENT_HOME, AGENT_UID, TRUSTED, TRUSTED_BY_JAVA};
use postern_sys::mount::Attributes;

use super::{overlay::Overlays, tree::bind_if_there};

/// Of the host's /etc, what programs need to run at all: where alternatives and libraries are, the numbers of protocols
/// and ports (without them a port cannot be asked for by name), what OpenSSL and MIME say, and with what Debian's Maven
/// starts. (Its `settings.xml` may have passwords, and is not shown.)
const SHOWN: [&str; 10] = [
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/maven/logging",
    "/etc/maven/m2.conf",
    "/etc/mime.types",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/openssl.cnf",
];

/// How directories of the host's /etc begin that belong to one version of Java each: its security settings, without
/// which it does not start.
const OF_JAVA: &str = "java-";

/// Where libraries that come from elsewhere look for what lies at [`TRUSTED`] or [`TRUSTED_BY_JAVA`].
const TRUSTED_TOO: [(&str, &str); 3] = [
    ("etc/ssl/cert.pem", TRUSTED),
    ("etc/pki/tls/certs/ca-bundle.crt", TRUSTED),
    ("etc/pki/java/cacerts", TRUSTED_BY_JAVA),
];

/// Where time zones are kept, inside and outside.
const ZONES: &str = "/usr/share/zoneinfo";

/// Writes /etc in the working directory. Whom to trust is the host's own list, unless the plan brings another.
pub(super) fn write(
    hostname: &str,
    brings_trusted: bool,
    overlays: &mut Overlays<'_>,
) -> io::Result<()> {
    fs::create_dir("etc")?;
    for (name, text) in files(hostname) {
        fs::write(Path::new("etc").join(name), text)?;
    }
    if let Some(zone) = zone() {
        symlink(zone, "etc/localtime")?;
    }
    for (path, target) in TRUSTED_TOO {
        Path::new(path)
            .parent()
            .map_or(Ok(()), fs::create_dir_all)?;
        symlink(target, path)?;
    }
    let host_trusts: &[&str] = if brings_trusted {
        &[]
    } else {
        &[TRUSTED, TRUSTED_BY_JAVA]
    };
    let shown = SHOWN.iter().chain(host_trusts).map(PathBuf::from);
    for path in shown.chain(of_java()?) {
        if bind_if_there(overlays.root(), &path, Attributes::READ_ONLY)? {
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

/// The settings of every Java that the host has.
fn of_java() -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/etc")? {
        let entry = entry?;
        let begins = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(OF_JAVA.as_bytes());
        if begins && entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The host's time zone, where it is one of those that every system has.
fn zone() -> Option<PathBuf> {
    let link = fs::read_link("/etc/localtime").ok()?;
    let whole = Path::new("/etc").join(link);
    let zone = whole.to_str()?.rsplit_once("zoneinfo/")?.1;
    (!zone.contains("..")).then(|| Path::new(ZONES).join(zone))
}
