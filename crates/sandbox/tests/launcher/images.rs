//! Images that are mounted, and files that are not. Each image is made here, by the program that packages of EROFS ship.

use std::{
    fs::{self, Permissions},
    os::{
        fd::AsFd,
        unix::fs::{PermissionsExt, chown, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
};

use postern_contract::launch::{Access, Plan};
use postern_sandbox::config::Written;
use postern_sys::image;

use crate::harness::{Mode, RANGE, Site, mount, plan};

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

/// Where a launcher runs as root and may mount images, if root runs the tests and images can be made.
fn site() -> Option<Site> {
    let mode = Mode::all().into_iter().find(|mode| *mode == Mode::Root)?;
    if Command::new("mkfs.erofs").arg("--help").output().is_err() {
        eprintln!("skipped: erofs-utils is not installed");
        return None;
    }
    let site = Site::new(mode);
    allow(&site, true);
    Some(site)
}

fn allow(site: &Site, images: bool) {
    site.configure(&Written {
        images,
        ..site.config()
    });
}

fn of(image: &Path) -> Plan {
    let mounts = vec![mount(image, "/agent", Access::Image)];
    Plan { mounts, ..plan() }
}

#[test]
fn what_is_in_an_image_is_there_to_read_and_run_and_stays_as_it_is() {
    let Some(site) = site() else { return };
    let image = packed(&site, "agent.erofs");
    let before = fs::read(&image).unwrap();
    for _ in 0..2 {
        let (mut launcher, _listeners) = site.build(&of(&image));
        assert_eq!(launcher.shell("/agent/hello there"), "hello, there\n");
        // What is written lands in what is over it and ends with the sandbox, or is refused.
        launcher.shell(
            "! test -e /agent/new; echo x > /agent/new || true; echo x >> /agent/hello || true",
        );
        drop(launcher);
    }
    assert_eq!(fs::read(&image).unwrap(), before);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("erofs"), "{mounts}");
}

#[test]
fn files_that_are_not_mounted_as_images() {
    let Some(site) = site() else { return };
    let whole = packed(&site, "whole.erofs");
    let put = |name: &str| {
        let path = site.path("sources").join(name);
        fs::copy(&whole, &path).unwrap();
        path
    };
    let agents = put("agents.erofs");
    chown(&agents, Some(RANGE.first), None).unwrap();
    let open = put("open.erofs");
    fs::set_permissions(&open, Permissions::from_mode(0o664)).unwrap();
    let link = site.path("sources/link.erofs");
    symlink(&whole, &link).unwrap();
    let pipe = site.path("sources/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let text = site.source("text", Some("no image"));
    let broken = put("broken.erofs");
    let bytes = fs::read(&whole).unwrap();
    fs::write(&broken, &bytes[..1000]).unwrap();
    let outside = site.path("outside/out.erofs");
    fs::copy(&whole, &outside).unwrap();
    for (image, told) in [
        (agents, "somebody else"),
        (open, "others can write it"),
        (link, "name the path that the link leads to"),
        (pipe, "no regular file"),
        (site.source("directory", None), "no regular file"),
        (text, "cannot show"),
        (broken, "cannot show"),
        (outside, "in no permitted source root"),
    ] {
        let why = site.refusal(&of(&image));
        assert!(
            why.contains(told) && why.contains(&format!("{image:?}")),
            "{image:?}: {why}"
        );
    }
    // The config has the last word, and what is no image is none by being shown as a file.
    allow(&site, false);
    let why = site.refusal(&of(&whole));
    assert!(why.contains("say `images = true` there"), "{why}");
}

#[test]
fn nobody_but_root_mounts_one() {
    let site = Site::new(Mode::Ordinary);
    let image = site.source("agent.erofs", Some("x"));
    for images in [false, true] {
        allow(&site, images);
        let why = site.refusal(&of(&image));
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
