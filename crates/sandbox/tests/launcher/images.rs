//! Images that are mounted, and files that are not. Each image is made here, by the program that packages of EROFS ship.

use std::{
    fs::{self, Permissions},
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
};

use postern_contract::{
    Digest,
    launch::{Access, Plan},
};
use postern_sandbox::config::Written;
use postern_sys::image;
use sha2::{Digest as _, Sha256};

use crate::harness::{Mode, RANGE, Site, mount, plan};

/// Where the launcher keeps images.
const STORE: &str = "images";

/// An image of one program, in the source root.
fn packed(site: &Site, name: &str) -> PathBuf {
    let tree = site.path(&format!("outside/{name}.tree"));
    fs::create_dir(&tree).unwrap();
    let program = tree.join("hello");
    fs::write(&program, "#!/bin/sh\necho hello, \"$1\"\n").unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let image = site.path("sources").join(name);
    let mut mkfs = Command::new("mkfs.erofs");
    let made = mkfs
        .args(["--quiet", "-x-1", "--all-root"])
        .args([&image, &tree])
        .output();
    let made = made.expect("erofs-utils is installed");
    assert!(made.status.success(), "{made:?}");
    image
}

/// Where a launcher runs as root and has a place for images, if root runs the tests and images can be made.
fn site() -> Option<Site> {
    let mode = Mode::all().into_iter().find(|mode| *mode == Mode::Root)?;
    if Command::new("mkfs.erofs").arg("--help").output().is_err() {
        eprintln!("skipped: erofs-utils is not installed");
        return None;
    }
    let site = Site::new(mode);
    let store = site.path(STORE);
    fs::DirBuilder::new().mode(0o700).create(store).unwrap();
    Some(site)
}

fn digest(image: &Path) -> Digest {
    Digest::of(Sha256::digest(fs::read(image).unwrap()).into())
}

fn allow(site: &Site, images: &[Digest]) {
    site.configure(&Written {
        images: images.into(),
        image_store: Some(site.path(STORE)),
        ..site.config()
    });
}

fn of(image: &Path, sha256: Digest) -> Plan {
    let mounts = vec![mount(image, "/agent", Access::Image { sha256 })];
    Plan { mounts, ..plan() }
}

/// The names in the store.
fn kept(site: &Site) -> Vec<String> {
    let entries = fs::read_dir(site.path(STORE)).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn what_is_in_an_image_is_there_to_read_and_run_and_stays_as_it_is() {
    let Some(site) = site() else { return };
    let image = packed(&site, "agent.erofs");
    let (before, sha256) = (fs::read(&image).unwrap(), digest(&image));
    allow(&site, &[sha256]);
    for _ in 0..2 {
        let (mut launcher, _listeners) = site.build(&of(&image, sha256));
        assert_eq!(launcher.shell("/agent/hello there"), "hello, there\n");
        // What is written lands in what is over it and ends with the sandbox, or is refused.
        launcher.shell(
            "! test -e /agent/new; echo x > /agent/new || true; echo x >> /agent/hello || true",
        );
        drop(launcher);
    }
    let name = format!("{sha256}.erofs");
    assert_eq!(kept(&site), [name.as_str()]);
    assert_eq!(fs::read(site.path(STORE).join(name)).unwrap(), before);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("erofs"), "{mounts}");
}

/// Whoever has posternd in hand writes its files as it likes, and asks for what it likes.
#[test]
fn what_is_mounted_hashes_to_a_digest_of_the_config_whatever_posternd_says_and_writes() {
    let Some(site) = site() else { return };
    let (good, evil) = (packed(&site, "good.erofs"), packed(&site, "evil.erofs"));
    fs::write(&evil, [fs::read(&evil).unwrap(), vec![0; 4096]].concat()).unwrap();
    let (wanted, other) = (digest(&good), digest(&evil));
    allow(&site, &[wanted]);
    for (image, sha256, told) in [
        (&evil, other, "launcher.toml does not name its sha256"),
        (&good, other, "launcher.toml does not name its sha256"),
        (&evil, wanted, "was asked for"),
    ] {
        let why = site.refusal(&of(image, sha256));
        assert!(why.contains(told), "{image:?}: {why}");
        assert_eq!(kept(&site), <[&str; 0]>::default());
    }
    drop(site.build(&of(&good, wanted)));
    // From now on posternd's file is nobody's business.
    fs::copy(&evil, &good).unwrap();
    let (mut launcher, _listeners) = site.build(&of(&good, wanted));
    assert_eq!(launcher.shell("/agent/hello again"), "hello, again\n");
    drop(launcher);
    // What is not named any more is not mounted, and goes when the next one comes.
    allow(&site, &[other]);
    let why = site.refusal(&of(&good, wanted));
    assert!(why.contains("add it to `images` there"), "{why}");
    drop(site.build(&of(&evil, other)));
    assert_eq!(kept(&site), [format!("{other}.erofs")]);
}

#[test]
fn files_that_are_not_mounted_as_images() {
    let Some(site) = site() else { return };
    let whole = packed(&site, "whole.erofs");
    let link = site.path("sources/link.erofs");
    symlink(&whole, &link).unwrap();
    let pipe = site.path("sources/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let text = site.source("text", Some("no image"));
    let outside = site.path("outside/out.erofs");
    fs::copy(&whole, &outside).unwrap();
    let sha256 = digest(&text);
    allow(&site, &[sha256]);
    for (image, told) in [
        (link, "name the path that the link leads to"),
        (pipe, "no regular file"),
        (site.source("directory", None), "no regular file"),
        (outside, "in no permitted source root"),
        // The kernel has the last word.
        (text, "cannot show"),
    ] {
        let why = site.refusal(&of(&image, sha256));
        assert!(
            why.contains(told) && why.contains(&format!("{image:?}")),
            "{image:?}: {why}"
        );
    }
}

#[test]
fn a_store_that_others_could_have_written_is_not_used() {
    let Some(site) = site() else { return };
    let image = packed(&site, "agent.erofs");
    let (store, sha256) = (site.path(STORE), digest(&image));
    allow(&site, &[sha256]);
    let plan = of(&image, sha256);
    let refused = |spoil: &dyn Fn(), mend: &dyn Fn()| {
        spoil();
        let why = site.refusal(&plan);
        assert!(why.contains("others than root could have written"), "{why}");
        mend();
    };
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let owner = |path: &Path, uid| chown(path, Some(uid), None).unwrap();
    refused(&|| mode(&store, 0o770), &|| mode(&store, 0o700));
    refused(&|| owner(&store, RANGE.first), &|| owner(&store, 0));
    drop(site.build(&plan));
    let kept = store.join(format!("{sha256}.erofs"));
    refused(&|| mode(&kept, 0o602), &|| mode(&kept, 0o400));
    refused(&|| owner(&kept, RANGE.first), &|| owner(&kept, 0));
    drop(site.build(&plan));
    // A link in its place leads nowhere.
    fs::remove_file(&kept).unwrap();
    symlink(&image, &kept).unwrap();
    site.refusal(&plan);
}

#[test]
fn nobody_but_root_mounts_one() {
    let site = Site::new(Mode::Ordinary);
    let image = site.source("agent.erofs", Some("x"));
    let sha256 = digest(&image);
    for images in [&[][..], &[sha256]] {
        allow(&site, images);
        let why = site.refusal(&of(&image, sha256));
        assert!(why.contains("only root can mount an image"), "{why}");
    }
}

/// As kernels before Linux 6.12 have it.
#[test]
fn a_loop_device_goes_with_its_mount() {
    let Some(site) = site() else { return };
    let image = packed(&site, "looped.erofs");
    let file = fs::File::open(&image).unwrap();
    let mount = image::by_loop_device(file.as_fd()).unwrap();
    assert_eq!(devices(&image), 1);
    drop(mount);
    while devices(&image) > 0 {
        std::thread::yield_now();
    }
}

/// How many loop devices show a file.
fn devices(file: &Path) -> usize {
    let blocks = fs::read_dir("/sys/block").unwrap().flatten();
    let backing = blocks.map(|block| block.path().join("loop/backing_file"));
    let shown = backing.filter_map(|path| fs::read_to_string(path).ok());
    shown
        .filter(|path| Path::new(path.trim_end()) == file)
        .count()
}
