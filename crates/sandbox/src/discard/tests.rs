//! Trees that fight back, deleted as whoever runs the tests.

use std::os::unix::fs::symlink;

use nix::{sys::stat::mkdirat, unistd::geteuid};

use super::*;

fn ids() -> Ids {
    Ids::Caller {
        uid: geteuid().as_raw(),
    }
}

fn config(root: &Path) -> Config {
    Config {
        source_roots: Vec::new(),
        discard_roots: vec![root.to_owned()],
        ids: ids(),
        peer_uid: 0,
        mandatory: Vec::new(),
        images: crate::config::Images::default(),
    }
}

#[test]
fn a_tree_goes_and_what_its_links_point_to_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, tree) = (dir.path().join("kept"), dir.path().join("root/tree"));
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("file"), "x").unwrap();
    fs::write(tree.join("a/b/file"), "x").unwrap();
    symlink(&kept, tree.join("a/link")).unwrap();
    discard(&tree, &config(&dir.path().join("root"))).unwrap();
    assert!(!tree.exists());
    assert!(kept.join("file").exists());
}

#[test]
fn a_tree_deeper_than_any_path_goes() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let mut at = openat2(AT_FDCWD, &tree, OpenHow::new().flags(readable())).unwrap();
    let name = "d".repeat(100);
    for _ in 0..DEPTH_MAX * 2 {
        mkdirat(&at, name.as_str(), Mode::S_IRWXU).unwrap();
        at = openat2(&at, name.as_str(), OpenHow::new().flags(readable())).unwrap();
    }
    drop(at);
    discard(&tree, &config(dir.path())).unwrap();
    assert!(!tree.exists());
}

#[test]
fn a_directory_that_nobody_may_enter_goes() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("closed/inner")).unwrap();
    fs::set_permissions(tree.join("closed"), Permissions::from_mode(0o0)).unwrap();
    discard(&tree, &config(dir.path())).unwrap();
    assert!(!tree.exists());
}

#[test]
fn a_root_that_was_replaced_by_a_link_leads_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim/tree");
    fs::create_dir_all(&victim).unwrap();
    symlink(dir.path().join("victim"), dir.path().join("root")).unwrap();
    symlink(dir.path(), dir.path().join("above")).unwrap();
    for root in ["root", "above/victim"] {
        let root = dir.path().join(root);
        assert!(
            discard(&root.join("tree"), &config(&root)).is_err(),
            "{root:?}"
        );
    }
    assert!(victim.exists());
}

#[test]
fn a_name_that_was_swapped_saves_what_it_leads_to_now() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("tree/old")).unwrap();
    fs::create_dir_all(at("victim/kept")).unwrap();
    let tree = Tree::open(dir.path(), Path::new("tree")).unwrap();
    fs::rename(at("tree"), at("moved")).unwrap();
    fs::rename(at("victim"), at("tree")).unwrap();
    assert!(tree.delete().is_err());
    assert!(at("tree/kept").exists(), "what took the name");
    assert!(!at("moved/old").exists(), "what was looked at");
}

#[test]
fn only_trees_beneath_the_root_go() {
    let dir = tempfile::tempdir().unwrap();
    let (root, other) = (dir.path().join("root"), dir.path().join("other"));
    fs::create_dir_all(&root).unwrap();
    fs::create_dir_all(other.join("tree")).unwrap();
    symlink(&other, root.join("link")).unwrap();
    for tree in [
        root.clone(),
        other.join("tree"),
        root.join("../other/tree"),
        root.join("link"),
        root.join("link/tree"),
        root.join("."),
        root.join("absent"),
        PathBuf::from("root/tree"),
    ] {
        assert!(discard(&tree, &config(&root)).is_err(), "{tree:?}");
    }
    assert!(other.join("tree").exists() && root.exists());
}

#[test]
fn a_file_is_no_tree_and_somebody_elses_tree_stays() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    fs::create_dir(dir.path().join("theirs")).unwrap();
    assert!(discard(&dir.path().join("file"), &config(dir.path())).is_err());
    let ids = Ids::Caller {
        uid: geteuid().as_raw() + 1,
    };
    let config = Config {
        ids,
        ..config(dir.path())
    };
    assert!(discard(&dir.path().join("theirs"), &config).is_err());
    assert!(dir.path().join("theirs").exists());
}
