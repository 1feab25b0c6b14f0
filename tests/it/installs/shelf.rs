//! Servers that installs come from, each as its clients know it, and each only for whoever has the key: git's own
//! `http-backend`, a registry of npm, an index of Python packages.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postern_testkit::{Answer, Archive, Upstream, upstream::Recorded};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

use super::KEY;

/// A repository, and the directory where it is worked on.
pub(super) struct Repository {
    pub(super) server: Upstream,
    pub(super) work: tempfile::TempDir,
}

impl Repository {
    pub(super) fn with(files: &[(&str, &str)]) -> Self {
        let work = tempfile::tempdir().unwrap();
        git(
            work.path(),
            &["init", "--quiet", "--initial-branch", "main"],
        );
        git(work.path(), &["config", "uploadpack.allowFilter", "true"]);
        let root = work.path().to_owned();
        let repository = Self {
            server: Upstream::start(move |request| {
                for_the_key(request, |asked| backend(&root, asked))
            }),
            work,
        };
        let _commit = repository.commit(files);
        repository
    }

    pub(super) fn url(&self) -> String {
        format!("{}/repo", self.server.url())
    }

    /// One more commit; its number.
    pub(super) fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, content) in files {
            fs::write(self.work.path().join(path), content).unwrap();
        }
        git(self.work.path(), &["add", "."]);
        self.kept()
    }

    /// One more commit, with a repository inside that is somewhere else.
    pub(super) fn module(&self, path: &str, url: &str) {
        let told = format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = \"{url}\"\n");
        fs::write(self.work.path().join(".gitmodules"), told).unwrap();
        git(self.work.path(), &["add", ".gitmodules"]);
        let link = format!("160000,{},{path}", self.head());
        git(
            self.work.path(),
            &["update-index", "--add", "--cacheinfo", &link],
        );
        let _commit = self.kept();
    }

    /// What is staged becomes a commit.
    fn kept(&self) -> String {
        let who = ["-c", "user.name=test", "-c", "user.email=test@example.test"];
        git(
            self.work.path(),
            &[&who[..], &["commit", "--quiet", "--message", "next"]].concat(),
        );
        self.head()
    }

    fn head(&self) -> String {
        let head = git(self.work.path(), &["rev-parse", "HEAD"]);
        String::from_utf8(head.stdout).unwrap().trim().to_owned()
    }

    pub(super) fn tag(&self, name: &str) {
        git(self.work.path(), &["tag", name]);
    }
}

pub(super) fn git(at: &Path, arguments: &[&str]) -> Output {
    let done = Command::new("git")
        .arg("-C")
        .arg(at)
        .args(arguments)
        .output()
        .unwrap();
    assert!(done.status.success(), "{arguments:?}: {done:?}");
    done
}

/// What only the key's holder gets.
pub(super) fn for_the_key(request: &Recorded, answer: impl Fn(&Recorded) -> Answer) -> Answer {
    if request.values("authorization") == [format!("Bearer {KEY}")] {
        return answer(request);
    }
    let mut refused = Answer::json(&json!({"error": "who is there?"})).with_status(401);
    let asks = (
        "www-authenticate".to_owned(),
        "Basic realm=\"source\"".to_owned(),
    );
    refused.headers.push(asks);
    refused
}

/// git's own server, as a CGI program (RFC 3875).
pub(super) fn backend(root: &Path, request: &Recorded) -> Answer {
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    let Some(path) = path.strip_prefix("/repo") else {
        return plain(404, "text/plain", b"");
    };
    let value = |name: &str| {
        request
            .values(name)
            .first()
            .copied()
            .unwrap_or_default()
            .to_owned()
    };
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root.join(".git"))
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &request.method)
        .env("CONTENT_TYPE", value("content-type"))
        .env("HTTP_CONTENT_ENCODING", value("content-encoding"))
        .env("GIT_PROTOCOL", value("git-protocol"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = request.body.clone();
    let feeding = std::thread::spawn(move || drop(stdin.write_all(&body)));
    let done = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    cgi(&done.stdout)
}

fn cgi(printed: &[u8]) -> Answer {
    let end = printed
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap_or(0);
    let head = String::from_utf8_lossy(&printed[..end]).into_owned();
    let mut answer = plain(
        200,
        "text/plain",
        printed.get(end + 4..).unwrap_or_default(),
    );
    answer.headers.clear();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        if name == "Status" {
            answer.status = value[..3].parse().unwrap();
        } else {
            answer.headers.push((name.to_lowercase(), value.to_owned()));
        }
    }
    answer
}

pub(super) fn plain(status: u16, kind: &str, body: &[u8]) -> Answer {
    Answer {
        status,
        headers: vec![("content-type".to_owned(), kind.to_owned())],
        body: body.to_vec(),
        hold: None,
    }
}

/// A registry with the package `tiny-agent` of npm: its command prints `word`; its script would leave a file.
pub(super) fn npm(word: &str) -> Upstream {
    let program = format!(
        "#!/usr/bin/env node\nconsole.log({word:?}, require('fs').existsSync(__dirname + '/ran'));\n"
    );
    let about = json!({
        "name": "tiny-agent", "version": "1.2.3", "bin": {"tiny-agent": "run.js"},
        "scripts": {"postinstall": "touch ran"},
    });
    let archive = Archive::new()
        .file("package/package.json", about.to_string())
        .file("package/run.js", program)
        .tar_gz();
    Upstream::start(move |request| for_the_key(request, |asked| package(asked, (&about, &archive))))
}

/// What a registry of npm has of its one package, `tiny-agent` 1.2.3.
pub(super) fn package(asked: &Recorded, (about, archive): (&Value, &[u8])) -> Answer {
    if asked.target.ends_with(".tgz") {
        return plain(200, "application/octet-stream", archive);
    }
    if asked.target != "/tiny-agent" {
        return plain(404, "application/json", b"{}");
    }
    let host = asked.values("host")[0].to_owned();
    let integrity = format!("sha512-{}", STANDARD.encode(Sha512::digest(archive)));
    let tarball = format!("http://{host}/tiny-agent/-/tiny-agent-1.2.3.tgz");
    let mut version = about.clone();
    version["dist"] = json!({"tarball": tarball, "integrity": integrity});
    version["hasInstallScript"] = json!(true);
    Answer::json(&json!({
        "name": "tiny-agent", "dist-tags": {"latest": "1.2.3"}, "versions": {"1.2.3": version},
    }))
}

/// An index with the wheel `tiny-agent` of pip: its command prints `word`; a file of it would run with every Python. Of a later
/// version there is the source alone, whose build says that it ran.
pub(super) fn pip(word: &str) -> Upstream {
    let files = [(WHEEL, wheel(word, "")), (SOURCE, source())];
    Upstream::start(move |request| for_the_key(request, |asked| distribution(asked, &files)))
}

/// What an index of pip has of its one package.
pub(super) fn distribution(asked: &Recorded, files: &[(&str, Vec<u8>)]) -> Answer {
    let path = asked.target.trim_end_matches('/');
    if path == "/simple/tiny-agent" {
        let link = |(name, bytes): &(&str, Vec<u8>)| {
            let digest = hex::encode(Sha256::digest(bytes));
            format!("<a href=\"/{name}#sha256={digest}\">{name}</a>")
        };
        let links: String = files.iter().map(link).collect();
        return plain(
            200,
            "text/html",
            format!("<!DOCTYPE html>{links}").as_bytes(),
        );
    }
    match files.iter().find(|(name, _)| path == format!("/{name}")) {
        Some((_, bytes)) => plain(200, "application/octet-stream", bytes),
        None => plain(404, "text/plain", b""),
    }
}

const SOURCE: &str = "tiny_agent-2.0.tar.gz";

fn source() -> Vec<u8> {
    const BUILD: &str =
        "[build-system]\nrequires = []\nbuild-backend = \"build\"\nbackend-path = [\".\"]\n";
    const RUNS: &str = "raise SystemExit('the build of a package ran')\n";
    let about = "Metadata-Version: 2.1\nName: tiny-agent\nVersion: 2.0\n";
    Archive::new()
        .file("tiny_agent-2.0/PKG-INFO", about)
        .file("tiny_agent-2.0/pyproject.toml", BUILD)
        .file("tiny_agent-2.0/build.py", RUNS)
        .tar_gz()
}

pub(super) const WHEEL: &str = "tiny_agent-1.2-py3-none-any.whl";

/// The wheel of `tiny-agent`, which needs this too, if anything.
pub(super) fn wheel(word: &str, needs: &str) -> Vec<u8> {
    const ABOUT: &str = "tiny_agent-1.2.dist-info";
    let files = [
        (
            "tiny_agent.py".to_owned(),
            format!("def main():\n    print({word:?})\n"),
        ),
        (
            "tiny.pth".to_owned(),
            "import os; os.environ.get('HOME') and open('/tmp/ran', 'w')\n".to_owned(),
        ),
        (
            format!("{ABOUT}/METADATA"),
            format!("Metadata-Version: 2.1\nName: tiny-agent\nVersion: 1.2\n{needs}"),
        ),
        (
            format!("{ABOUT}/WHEEL"),
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
                .to_owned(),
        ),
        (
            format!("{ABOUT}/entry_points.txt"),
            "[console_scripts]\ntiny-agent = tiny_agent:main\n".to_owned(),
        ),
    ];
    let mut record: String = files
        .iter()
        .map(|(name, _)| format!("{name},,\n"))
        .collect();
    record.push_str(&format!("{ABOUT}/RECORD,,\n"));
    let folder = tempfile::tempdir().unwrap();
    let all = files
        .into_iter()
        .chain([(format!("{ABOUT}/RECORD"), record)]);
    let names: Vec<PathBuf> = all
        .map(|(name, text)| {
            let path = folder.path().join(&name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            name.into()
        })
        .collect();
    let zipped = Command::new("python3")
        .args(["-m", "zipfile", "-c", "out.whl"])
        .args(
            names
                .iter()
                .map(|name| name.components().next().unwrap().as_os_str())
                .collect::<std::collections::BTreeSet<_>>(),
        )
        .current_dir(folder.path())
        .status();
    assert!(zipped.unwrap().success());
    fs::read(folder.path().join("out.whl")).unwrap()
}
