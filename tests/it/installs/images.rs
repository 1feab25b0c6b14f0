//! Agents that come as images: made by `postern pack`, mounted where the config pins them, and by root alone.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use postern_testkit::{Answer, Archive, Setup, Upstream, binaries};
use serde_json::Value;

use super::{
    AGENT, KEY, answer, has, setup,
    shelf::for_the_key,
    trees,
    way_back::{agents, told},
};
use crate::fixture;

/// Whether images can be made here, and mounted.
fn can() -> bool {
    has("mkfs.erofs") && fixture::runs_as_root()
}

fn pack(from: &Path, image: &Path) -> Output {
    let mut pack = Command::new(binaries::postern());
    pack.arg("pack")
        .arg(from)
        .arg("--json")
        .arg("--output")
        .arg(image);
    pack.output().unwrap()
}

/// An image of an agent that says a word, and its digest.
fn packed(folder: &Path, word: &str) -> (PathBuf, String) {
    let (archive, image) = (
        folder.join("agent.tar.gz"),
        folder.join(format!("{word}.erofs")),
    );
    let files = Archive::new().file("agent.py", AGENT).file("word", word);
    fs::write(&archive, files.tar_gz()).unwrap();
    let output = pack(&archive, &image);
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["entries"], 2, "{told}");
    (image, told["sha256"].as_str().unwrap().to_owned())
}

fn desk(source: &str) -> String {
    format!(
        "[agents.desk]\nkind = \"python\"\nentry = \"agent.py\"\nsource = {{ object = {{ {source} }} }}"
    )
}

fn with_image(source: &str, image: &Path) -> Setup {
    setup(&desk(source), "http://127.0.0.1:1").file("image", fs::read(image).unwrap())
}

#[test]
fn an_image_is_mounted_and_not_read_again_at_the_next_start() {
    if !can() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (image, sha256) = packed(folder.path(), "mounted");
    let pinned = format!("path = \"image\", sha256 = \"{sha256}\"");
    let devbox = with_image(&pinned, &image).start();
    assert_eq!(answer(&devbox), "mounted");
    let version = devbox.state().join("runtime/agents/desk/current");
    assert!(fs::metadata(version).unwrap().is_file());
    let ended = devbox.stop();
    assert_eq!(trees(&ended), 0);

    // What stands is what was checked, whatever has become of the file.
    let again = Setup::again(ended).file("image", "something else");
    let devbox = again.start();
    assert_eq!(answer(&devbox), "mounted");
    let ended = devbox.stop();

    // Also of the file that is posternd's own: root keeps another.
    let versions = ended.folder.path().join("state/runtime/agents/desk");
    fs::write(versions.join("current"), "something else").unwrap();
    let devbox = Setup::again(ended).start();
    assert_eq!(answer(&devbox), "mounted");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = devbox.folder().to_str().unwrap().to_owned();
    assert!(!mounts.contains(&ours), "{mounts}");
    devbox.stop().assert_nothing_left();
}

#[test]
fn an_image_that_is_not_pinned_or_not_the_one_is_not_looked_into() {
    if !can() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (image, sha256) = packed(folder.path(), "refused");
    let other = "0".repeat(64);
    for (source, told) in [
        ("path = \"image\"".to_owned(), "the kernel would parse"),
        (
            format!("path = \"image\", sha256 = \"{other}\""),
            "the config pins",
        ),
        (
            format!("path = \"image\", sha256 = \"{sha256}\", agent_setup = [\"true\"]"),
            "run `agent_setup` before it is packed",
        ),
    ] {
        let ended = with_image(&source, &image).try_start().err().unwrap();
        assert!(ended.stderr.contains(told), "{source}: {}", ended.stderr);
        nothing_stays(ended.folder.path());
    }
    // The kernel has the last word on what is pinned.
    let mut broken = fs::read(&image).unwrap();
    broken[1024 + 12] ^= 0xff;
    let path = folder.path().join("broken");
    fs::write(&path, &broken).unwrap();
    let sha256 = digest(&broken);
    let pinned = format!("path = \"image\", sha256 = \"{sha256}\"");
    let ended = with_image(&pinned, &path).try_start().err().unwrap();
    assert!(ended.stderr.contains("cannot show"), "{}", ended.stderr);
    nothing_stays(ended.folder.path());
}

#[test]
fn the_image_before_is_the_way_back_though_the_config_names_another() {
    if !can() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [(one, first), (two, second)] = ["one", "two"].map(|word| packed(folder.path(), word));
    let pinned = format!("path = \"image\", sha256 = \"{first}\"");
    let devbox = with_image(&pinned, &one).start();
    assert_eq!(answer(&devbox), "one");
    let config = fs::read_to_string(devbox.config()).unwrap();
    let ended = devbox.stop();
    let again = Setup::again(ended).file("image", fs::read(&two).unwrap());
    let again = again.file("postern.toml", config.replace(&first, &second));
    let devbox = again.start();
    assert_eq!(answer(&devbox), "two");
    let _line = told(&agents(&devbox, &["rollback", "desk"]));
    let devbox = Setup::again(devbox.stop()).start();
    assert_eq!(answer(&devbox), "one");
    devbox.stop().assert_nothing_left();
}

fn digest(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    hex::encode(Sha256::digest(bytes))
}

fn nothing_stays(folder: &Path) {
    let versions = fs::read_dir(folder.join("state/runtime/agents/desk/versions")).unwrap();
    assert_eq!(versions.count(), 0);
}

#[test]
fn an_image_from_afar_is_mounted_if_it_is_the_pinned_one() {
    if !can() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (image, sha256) = packed(folder.path(), "afar");
    let object = fs::read(&image).unwrap();
    let store = Upstream::start(move |request| {
        for_the_key(request, |_| Answer {
            status: 200,
            headers: Vec::new(),
            body: object.clone(),
            hold: None,
        })
    });
    let url = store.url();
    let pinned = format!("url = \"{url}/desk\", sha256 = \"{sha256}\"");
    let devbox = setup(&desk(&pinned), &url).start();
    assert_eq!(answer(&devbox), "afar");
    assert_eq!(
        store.requests()[0].values("authorization"),
        [format!("Bearer {KEY}")]
    );
    let devbox = Setup::again(devbox.stop()).start();
    assert_eq!(answer(&devbox), "afar");
    assert_eq!(store.requests().len(), 1, "it was asked again");
    let _ended = devbox.stop();

    let open = desk(&format!("url = \"{url}/desk\""));
    let ended = setup(&open, &url).try_start().err().unwrap();
    assert!(
        ended.stderr.contains("the kernel would parse"),
        "{}",
        ended.stderr
    );
    nothing_stays(ended.folder.path());
}

#[test]
fn an_ordinary_user_is_told_that_root_mounts_images() {
    if !can() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (image, sha256) = packed(folder.path(), "ordinary");
    let pinned = format!("path = \"image\", sha256 = \"{sha256}\"");
    let config = format!(
        "[listen]\napi = \"127.0.0.1:0\"\noperator = \"127.0.0.1:0\"\n\n{}\n",
        desk(&pinned)
    );
    let setup = Setup::new(&config).as_ordinary_user();
    let setup = setup.file("image", fs::read(&image).unwrap());
    let setup = setup.flag("--allow-weaker").flag("separate_uid");
    let ended = setup.try_start().err().unwrap();
    assert!(
        ended.stderr.contains("only root can mount an image"),
        "{}",
        ended.stderr
    );
    nothing_stays(ended.folder.path());
}

#[test]
fn what_would_not_be_unpacked_is_not_packed() {
    if !has("mkfs.erofs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let tree = place("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::write(tree.join("sub/file"), "x").unwrap();
    std::os::unix::fs::symlink("sub/file", tree.join("link")).unwrap();
    let [one, two] = ["one", "two"].map(place);
    for image in [&one, &two] {
        let output = pack(&tree, image);
        assert!(output.status.success(), "{output:?}");
    }
    // The same files make the same image, so that one digest pins what several people make.
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());

    nix::unistd::mkfifo(&tree.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let output = pack(&tree, &one);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("`pipe` is a FIFO"),
        "{said}"
    );
    fs::remove_file(tree.join("pipe")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", tree.join("out")).unwrap();
    let output = pack(&tree, &one);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("the link `out`"),
        "{said}"
    );
    // What was there stays as it was, and nothing else is left.
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["one", "tree", "two"]);
}
