//! Where this process stands in the host's cgroup trees, from what /proc says. Pure: never opens a cgroup.

use std::path::{Path, PathBuf};

/// One tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// What it limits; empty for the one tree of version 2, whose groups say so themselves.
    pub(super) controllers: Vec<String>,
    /// Where it is mounted.
    pub(super) top: PathBuf,
    /// This process's own group.
    pub(super) own: PathBuf,
}

impl Host {
    /// Whether it is the tree of version 2.
    pub(super) fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }
}

/// The trees that this process can see its own group in; of `own`, the text of /proc/self/cgroup, and `mounts`, that of
/// /proc/self/mountinfo.
pub(super) fn hosts(own: &str, mounts: &str) -> Vec<Host> {
    own.lines().filter_map(|line| host(line, mounts)).collect()
}

fn host(line: &str, mounts: &str) -> Option<Host> {
    let mut fields = line.splitn(3, ':').skip(1);
    let controllers: Vec<String> = fields
        .next()?
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let path = Path::new(fields.next()?);
    let (root, top) = mounts
        .lines()
        .filter_map(mounted)
        .find(|mount| mount.serves(&controllers))
        .map(|mount| (mount.root, mount.top))?;
    // In a container the mount may begin below the top, or the group lie outside of what is mounted.
    let beneath = path.strip_prefix(root).ok()?;
    let own = top.components().chain(beneath.components()).collect();
    Some(Host {
        controllers,
        top: top.to_owned(),
        own,
    })
}

struct Mounted<'a> {
    root: &'a Path,
    top: &'a Path,
    kind: &'a str,
    options: &'a str,
}

impl Mounted<'_> {
    fn serves(&self, controllers: &[String]) -> bool {
        if controllers.is_empty() {
            return self.kind == "cgroup2";
        }
        let has = |name: &String| self.options.split(',').any(|option| option == name);
        self.kind == "cgroup" && controllers.iter().all(has)
    }
}

fn mounted(line: &str) -> Option<Mounted<'_>> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let mut after = after.split(' ');
    Some(Mounted {
        root: Path::new(before.next()?),
        top: Path::new(before.next()?),
        kind: after.next()?,
        options: after.nth(1)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
25 1 0:22 / /sys/fs/cgroup rw shared:2 - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
27 25 0:24 /box /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
28 25 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn each_tree_is_found_by_what_it_limits() {
        let own = "4:memory:/box/inner\n2:cpu,cpuacct:/\n1:pids:/x\n0::/user.slice/s\n";
        let found = hosts(own, MOUNTS);
        let seen: Vec<_> = found
            .iter()
            .map(|host| (host.controllers.join(","), host.own.to_str().unwrap()))
            .collect();
        let expected = [
            ("memory", "/sys/fs/cgroup/memory/inner"),
            ("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"),
            ("", "/sys/fs/cgroup/unified/user.slice/s"),
        ];
        assert_eq!(seen, expected.map(|(name, path)| (name.to_owned(), path)));
        assert!(found[2].is_unified() && !found[0].is_unified());
    }

    #[test]
    fn a_group_outside_of_what_is_mounted_is_none_of_ours() {
        assert_eq!(hosts("4:memory:/other\n", MOUNTS), []);
        assert_eq!(hosts("nonsense\n\n::\n", "nonsense\n - \n"), []);
    }
}
