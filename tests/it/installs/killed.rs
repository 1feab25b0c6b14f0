//! posternd is killed at varied points of an install: what is live then is a whole version, the next start serves the new one whole,
//! and nothing that was begun is left. `scripts/chaos --installs` makes it long.

use std::{fs, path::Path, process::Child, thread};

use nix::sys::signal::{Signal, kill};
use postern_daemon::{Clock, environment};
use postern_testkit::{Archive, Ended, Folder, Setup, wait};

use super::{answer, setup, shelf::Repository, trees};
use crate::fixture::victim::Victim;

/// Files of a version beside its handler; each says which version it is of.
const PARTS: usize = 150;

/// A handler that says how many parts there are, and of which versions.
const AGENT: &str = "import glob, os\n\ndef handler(request):\n    here = os.path.dirname(__file__)\n    \
                     words = [open(part).read().strip() for part in glob.glob(here + '/part-*')]\n    \
                     return ' '.join([str(len(words))] + sorted(set(words)))\n";

/// The n-th change that is seen beneath the agent's directory is when posternd is killed; the last is after everything.
const POINTS: [usize; 5] = [1, 2, 5, 20, usize::MAX];

/// The largest chosen point: about as many changes as are seen of one install.
const POINT_MAX: u64 = 60;

fn parts(version: usize) -> Vec<(String, String)> {
    let part = |number| (format!("part-{number}"), format!("{version}\n"));
    (0..PARTS).map(part).collect()
}

/// Where the next version comes from.
trait Shelf {
    /// The config of a devbox whose agent is to be of this version, once that is on the shelf.
    fn put(&self, folder: &Path, version: usize);
}

struct Packed;

impl Shelf for Packed {
    fn put(&self, folder: &Path, version: usize) {
        let archive = Archive::new().file("agent.py", AGENT);
        let archive = parts(version)
            .iter()
            .fold(archive, |archive, (name, word)| archive.file(name, word));
        fs::write(folder.join("desk.tar.gz"), archive.tar_gz()).unwrap();
    }
}

impl Shelf for Repository {
    fn put(&self, folder: &Path, version: usize) {
        let parts = parts(version);
        let parts = parts
            .iter()
            .map(|(name, word)| (name.as_str(), word.as_str()));
        let _commit = self.commit(&parts.collect::<Vec<_>>());
        let config = folder.join("postern.toml");
        let text = fs::read_to_string(&config).unwrap();
        let (before, rest) = text.split_once("renew = \"").unwrap();
        let (_, after) = rest.split_once('"').unwrap();
        fs::write(&config, format!("{before}renew = \"{version}\"{after}")).unwrap();
    }
}

fn packed() -> (Setup, Packed) {
    let agent = "[agents.desk]\nkind = \"python\"\nentry = \"agent.py\"\nsource = { object = { path = \"desk.tar.gz\" } }";
    let setup = setup(agent, "http://127.0.0.1:9");
    Packed.put(setup.folder(), 0);
    (setup, Packed)
}

fn fetched() -> (Setup, Repository) {
    let repository = Repository::with(&[("agent.py", AGENT)]);
    let url = repository.url();
    let agent = format!(
        "[agents.desk]\nkind = \"python\"\nentry = \"agent.py\"\nsource = {{ git = {{ repository = \"{url}\", renew = \"\", agent_setup = [\"true\"] }} }}"
    );
    let setup = setup(&agent, &url);
    repository.put(setup.folder(), 0);
    (setup, repository)
}

/// All that can be seen of the agent's directory from outside: names, and where the symlink leads.
fn seen(desk: &Path) -> (usize, Option<std::path::PathBuf>) {
    fn beneath(directory: &Path) -> usize {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries
            .map(|entry| match entry.file_type() {
                Ok(kind) if kind.is_dir() => 1 + beneath(&entry.path()),
                _ => 1,
            })
            .sum()
    }
    (beneath(desk), fs::read_link(desk.join("current")).ok())
}

/// Starts a devbox and kills its posternd at the point; says how many changes were seen by then.
fn killed_at(point: usize, setup: Setup) -> (Folder, usize) {
    let desk = setup.folder().join("state/runtime/agents/desk");
    let before = seen(&desk);
    let (mut child, folder) = setup.start_unready();
    let (mut last, mut changes) = (before.clone(), 0);
    // Nothing announces most of the changes, so it looks without a pause; the live version is the last to change.
    let posternd = loop {
        let now = seen(&desk);
        changes += usize::from(now != last);
        let is_over = now.1 != before.1;
        last = now;
        if changes >= point || is_over {
            break Victim::Runtime.find(folder.path()).unwrap();
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        thread::yield_now();
    };
    kill(posternd, Signal::SIGKILL).unwrap();
    over(&mut child);
    (folder, changes)
}

fn over(child: &mut Child) {
    let _status = wait::until("postern up has ended", || child.try_wait().ok().flatten());
}

/// What is live on the disk is whole: all of its parts are of one version, the old or the new.
fn assert_whole(folder: &Path, version: usize) {
    let current = folder.join("state/runtime/agents/desk/current");
    let Ok(entries) = fs::read_dir(&current) else {
        // Another uid's tree, which this one may not list.
        assert!(fs::metadata(&current).is_ok(), "{}", current.display());
        return;
    };
    let parts: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("part-"))
        .map(|entry| fs::read_to_string(entry.path()).unwrap())
        .collect();
    assert_eq!(parts.len(), PARTS);
    let is_of = |version: usize| parts.iter().all(|part| *part == format!("{version}\n"));
    assert!(is_of(version) || is_of(version - 1), "{parts:?}");
}

/// One install after another, each killed and then done; how many changes were seen of each.
fn survives(
    setup: Setup,
    shelf: &impl Shelf,
    points: impl IntoIterator<Item = usize>,
) -> Vec<usize> {
    let mut seen = Vec::new();
    let mut ended = setup.start().stop();
    for (round, point) in points.into_iter().enumerate() {
        let version = round + 1;
        shelf.put(ended.folder.path(), version);
        let (folder, changes) = killed_at(point, Setup::again(ended));
        seen.push(changes);
        assert_whole(folder.path(), version);
        let killed = Ended {
            code: None,
            stderr: String::new(),
            folder,
        };
        killed.assert_nothing_left();
        let devbox = Setup::again(killed).start();
        assert_eq!(answer(&devbox), format!("{PARTS} {version}"));
        ended = devbox.stop();
        assert_eq!(trees(&ended), 2, "after {changes} changes");
    }
    ended.assert_nothing_left();
    seen
}

#[test]
fn a_posternd_killed_while_it_unpacks_leaves_a_whole_version_and_nothing_else() {
    let (setup, shelf) = packed();
    let _changes = survives(setup, &shelf, POINTS);
}

#[test]
fn a_posternd_killed_while_it_fetches_leaves_a_whole_version_and_nothing_else() {
    let (setup, shelf) = fetched();
    let _changes = survives(setup, &shelf, POINTS);
}

/// As many as `scripts/chaos --installs` says, at points that its seed chooses; none otherwise.
#[test]
fn installs_killed_at_random_leave_whole_versions_and_nothing_else() {
    let of = |variable: &str| environment::read(variable)?.parse::<u64>().ok();
    let installs = of("POSTERN_CHAOS_INSTALLS").unwrap_or(0);
    let seed = of("POSTERN_CHAOS_SEED");
    let mut state = seed
        .unwrap_or_else(|| Clock::system().unix_ms().unsigned_abs())
        .max(1);
    println!("installs: {installs} kills, POSTERN_CHAOS_SEED={state}");
    let mut points: Vec<usize> = Vec::new();
    for _ in 0..installs {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        points.push(1 + usize::try_from((state >> 16) % POINT_MAX).unwrap());
    }
    let half = points.split_off(points.len() / 2);
    let mut changes = Vec::new();
    if !points.is_empty() {
        let (setup, shelf) = packed();
        changes.extend(survives(setup, &shelf, points));
    }
    if !half.is_empty() {
        let (setup, shelf) = fetched();
        changes.extend(survives(setup, &shelf, half));
    }
    println!("installs: killed after these numbers of changes: {changes:?}");
}
