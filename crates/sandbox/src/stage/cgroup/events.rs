//! Which limits of its group a sandbox has run into. Never guesses from how a process ended.

use std::{fs::File, os::unix::fs::FileExt};

use postern_contract::launch::Hit;

/// The most that is read of a file of events, in bytes.
const EVENTS_BYTES_MAX: usize = 4096;

/// The counters of a group, read through descriptors: the tree is out of sight by then.
#[derive(Debug, Default)]
pub(crate) struct Events(Vec<Counter>);

#[derive(Debug)]
struct Counter {
    hit: Hit,
    file: File,
    key: &'static str,
    seen: u64,
}

impl Events {
    /// Counts what stands in a file behind a key.
    pub(super) fn count(&mut self, hit: Hit, file: File, key: &'static str) {
        let mut counter = Counter {
            hit,
            file,
            key,
            seen: 0,
        };
        counter.seen = counter.read();
        self.0.push(counter);
    }

    /// The limits that were run into since the last time.
    pub(crate) fn news(&mut self) -> Vec<Hit> {
        let mut hits = Vec::new();
        for counter in &mut self.0 {
            let now = counter.read();
            if now > counter.seen {
                hits.push(counter.hit);
            }
            counter.seen = now;
        }
        hits
    }
}

impl Counter {
    fn read(&self) -> u64 {
        let mut text = [0; EVENTS_BYTES_MAX];
        let length = self.file.read_at(&mut text, 0).unwrap_or(0);
        value(&text[..length], self.key).unwrap_or(self.seen)
    }
}

fn value(text: &[u8], key: &str) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_counted_is_told_once() {
        let mut file = tempfile::tempfile().unwrap();
        write!(file, "low 0\noom 1\noom_kill 2\n").unwrap();
        let mut events = Events::default();
        events.count(Hit::Memory, file.try_clone().unwrap(), "oom_kill");
        assert_eq!(events.news(), []);
        file.write_at(b"low 0\noom 1\noom_kill 3\n", 0).unwrap();
        assert_eq!(events.news(), [Hit::Memory]);
        assert_eq!(events.news(), []);
    }

    #[test]
    fn a_key_is_a_whole_word() {
        assert_eq!(
            value(b"oom_kill_disable 7\nunder_oom 0\n", "oom_kill"),
            None
        );
        assert_eq!(
            value(b"oom_kill_disable 7\noom_kill 4\n", "oom_kill"),
            Some(4)
        );
        assert_eq!(value(b"max \xff", "max"), None);
    }
}
