//! What agents share, with a played launcher: one tree for the same files, another for other leave, and what goes when nobody has it.

use postern_contract::{ByteSize, config::Cache as Terms};

use super::{super::cache::DIRECTORY, *};

const CLERK: &str = "[agents.clerk]\nkind = \"python\"\nsource = { object = { path = \"a.tar\" } }\nentry = \"a.py\"\n";

/// What a played tree counts, as `whole` says.
const BYTES: u64 = 7;

impl Bench {
    /// Another agent with the same files.
    fn and(&self, toml: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let silent = Listener::bind(&directory.path().join("link.sock")).unwrap();
        let listener = Listener::bind(&directory.path().join("launcher.sock")).unwrap();
        Self {
            installer: self.installer.clone(),
            agent: agent_of(toml),
            files: self.files.clone(),
            directory,
            listener,
            _gate: silent,
        }
    }

    /// An install for which nobody plays a launcher.
    async fn takes(&self) -> Installed {
        let taken = self
            .installer
            .install(&self.agent, &self.files, Occasion::Start);
        taken.await.unwrap()
    }

    /// A cache that keeps so much of what nobody uses.
    fn keeping(&self, bytes: u64) -> Cache {
        let terms = Terms {
            max: ByteSize(bytes),
            check: false,
        };
        Cache::new(&self.installer.agents, terms)
    }

    fn lies(&self, version: Version) -> PathBuf {
        std::fs::canonicalize(self.tree().version(version)).unwrap()
    }

    fn shelf(&self) -> PathBuf {
        self.installer.agents.join(DIRECTORY).join("versions")
    }

    /// Makes four, and gives the two that are neither live nor the way back, last used in their order.
    async fn two_unused(&self) -> [Version; 2] {
        let mut made = Vec::new();
        for (content, at_ms) in [("one", 1_000), ("two", 2_000), ("three", 3_000)] {
            self.archive(content);
            let version = self.makes(Occasion::Start).await;
            self.installer
                .cache
                .used(&version.digest.to_string(), at_ms);
            made.push(version);
        }
        self.archive("four");
        self.makes(Occasion::Start).await;
        [made[0], made[1]]
    }

    fn is_kept(&self, version: Version) -> bool {
        self.shelf().join(version.to_string()).exists()
    }
}

#[tokio::test]
async fn agents_with_the_same_files_are_shown_one_tree() {
    let desk = bench();
    let version = desk.makes(Occasion::Start).await;
    let clerk = desk.and(CLERK);
    let taken = clerk.takes().await;
    assert_eq!((taken.version, taken.unpacked), (version, None));
    assert_eq!(clerk.lies(version), desk.lies(version));
    let note = taken.note.unwrap();
    assert_eq!(note.stages[0].stage, "cache");
    assert_eq!(note.bytes, Some(BYTES));
    assert!(clerk.lies(version).starts_with(desk.shelf()));
}

#[tokio::test]
async fn of_two_agents_at_once_one_makes_it_and_the_other_waits_for_that() {
    let desk = bench();
    let clerk = desk.and(CLERK);
    let launchers = async {
        play(&desk.listener, whole).await;
        drop(desk.listener.accept().await);
        panic!("both were at work");
    };
    let both = async { tokio::join!(desk.takes(), clerk.takes()) };
    let (one, other) = tokio::select! {
        both = both => both,
        () = launchers => unreachable!(),
    };
    let unpacked = [one.unpacked, other.unpacked];
    assert_eq!(unpacked.iter().flatten().count(), 1, "{unpacked:?}");
    assert_eq!(desk.lies(one.version), clerk.lies(other.version));
}

#[tokio::test]
async fn who_may_call_others_on_the_way_shares_nothing_with_who_may_not() {
    let desk = bench();
    let version = desk.makes(Occasion::Start).await;
    let more = "[policies.p]\n[agents.clerk.install]\nsetup = [\"p\"]\n";
    let clerk = desk.and(&format!("{CLERK}{more}"));
    let plain = desk.and(CLERK);
    assert_eq!(Cache::key(&plain.agent, version), version.digest);
    assert_ne!(Cache::key(&clerk.agent, version), version.digest);
}

#[tokio::test]
async fn what_is_made_anew_is_the_agents_own() {
    let desk = bench();
    let first = desk.makes(Occasion::Start).await;
    let clerk = desk.and(CLERK);
    clerk.takes().await;
    let renewed = desk.makes(Occasion::Asked { renew: true }).await;
    assert_eq!((renewed.digest, renewed.renewal), (first.digest, 1));
    assert!(desk.lies(renewed).starts_with(desk.tree().versions()));
    assert_eq!(clerk.live(), first);
}

#[tokio::test]
async fn one_that_somebody_deleted_is_made_again() {
    let desk = bench();
    let version = desk.makes(Occasion::Start).await;
    std::fs::remove_dir_all(desk.lies(version)).unwrap();
    assert_eq!(desk.makes(Occasion::Start).await, version);
    assert!(desk.lies(version).is_dir());
}

#[tokio::test]
async fn what_no_agent_has_stays_up_to_a_size_and_is_taken_again() {
    let mut desk = bench();
    desk.installer.cache = desk.keeping(BYTES);
    let [oldest, older] = desk.two_unused().await;
    assert!(!desk.is_kept(oldest) && desk.is_kept(older));
    let names = std::fs::read_dir(desk.shelf()).unwrap();
    let names: Vec<_> = names.map(|name| name.unwrap().file_name()).collect();
    // Three trees with what is kept of each, and nothing of the fourth.
    assert_eq!(names.len(), 6, "{names:?}");
    desk.archive("two");
    let clerk = desk.and(CLERK);
    assert_eq!(clerk.takes().await.version, older);
}

#[tokio::test]
async fn a_cache_of_nothing_keeps_nothing_that_is_not_used() {
    let mut desk = bench();
    desk.installer.cache = desk.keeping(0);
    let [oldest, older] = desk.two_unused().await;
    assert!(!desk.is_kept(oldest) && !desk.is_kept(older));
    assert!(desk.is_kept(desk.live()));
}

#[tokio::test]
async fn what_somebody_is_at_is_not_dropped_and_neither_is_what_is_half_made() {
    let mut desk = bench();
    let [oldest, _] = desk.two_unused().await;
    desk.installer.cache = desk.keeping(0);
    let (cache, staged) = (&desk.installer.cache, desk.shelf().join(".staging-dead"));
    std::fs::create_dir(&staged).unwrap();
    let turn = cache.turn(oldest.digest).await;
    assert_eq!(cache.stale().len(), 1, "the other one alone");
    assert!(desk.is_kept(oldest));
    drop(turn);
    let stale = cache.stale();
    assert!(stale.contains(&staged), "{stale:?}");
    assert!(!desk.is_kept(oldest) && stale.len() == 3, "{stale:?}");
}
