//! Which images launchers may mount, and where those are kept that were mounted once. Never looks into one.

use std::{
    fs::{self, DirEntry},
    io,
    path::Path,
    time::SystemTime,
};

use postern_contract::Digest;

/// What stands behind the digest in the name of an image that a launcher keeps.
const SUFFIX: &str = ".erofs";

/// How many images are kept that the config names no more: where `postern agents rollback` leads.
const FORMER_MAX: usize = 8;

/// What the config pins, and what it pinned before: of the latter those that were kept last, and the others are deleted.
///
/// # Errors
/// As the system says.
pub(super) fn permitted(store: &Path, pinned: Vec<Digest>) -> io::Result<Vec<Digest>> {
    let entries = fs::read_dir(store)?.collect::<io::Result<Vec<_>>>()?;
    let mut former: Vec<_> = entries
        .iter()
        .filter_map(|entry| Some((digest(entry)?, entry)))
        .filter(|(digest, _)| !pinned.contains(digest))
        .collect();
    former.sort_by_key(|(_, entry)| std::cmp::Reverse(since(entry)));
    let kept = former.len().min(FORMER_MAX);
    for (_, entry) in former.drain(kept..) {
        fs::remove_file(entry.path())?;
    }
    let former = former.into_iter().map(|(digest, _)| digest);
    Ok(pinned.into_iter().chain(former).collect())
}

fn digest(entry: &DirEntry) -> Option<Digest> {
    let name = entry.file_name().into_string().ok()?;
    name.strip_suffix(SUFFIX)?.parse().ok()
}

fn since(entry: &DirEntry) -> SystemTime {
    let modified = entry.metadata().and_then(|found| found.modified());
    modified.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pinned_is_permitted_and_of_what_was_only_the_last_ones() {
        let store = tempfile::tempdir().unwrap();
        let named = |number: usize| store.path().join(format!("{number:064x}{SUFFIX}"));
        for number in 0..12_u64 {
            let file = fs::File::create(named(usize::try_from(number).unwrap())).unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number);
            file.set_modified(at).unwrap();
        }
        fs::write(store.path().join("note"), "").unwrap();
        let digest = |number: usize| format!("{number:064x}").parse::<Digest>().unwrap();
        let pinned = vec![digest(0), digest(99)];
        let permitted = permitted(store.path(), pinned).unwrap();
        let wanted: Vec<_> = [0, 99].into_iter().chain((4..12).rev()).collect();
        assert_eq!(
            permitted,
            wanted.into_iter().map(digest).collect::<Vec<_>>()
        );
        assert!(named(0).exists() && named(4).exists() && !named(3).exists());
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 10);
    }
}
