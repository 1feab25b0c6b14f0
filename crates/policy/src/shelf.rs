//! Rules of one place, found by the segments of a path, so that a decision looks at few of many. Never judges: a rule
//! found here may still not hold, and one that could hold is always found.

use std::collections::HashMap;

/// How deep the tree goes; what lies deeper is judged rule by rule.
const DEPTH_MAX: usize = 32;

/// One step of the way to a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// This segment, without its escapes.
    Segment(Box<str>),
    /// Any segment.
    Any,
}

/// Rules by the way to their paths, as positions in their policy.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    root: Node,
    all: Vec<usize>,
}

#[derive(Debug, Default)]
struct Node {
    here: Vec<usize>,
    next: HashMap<Box<str>, Self>,
    any: Option<Box<Self>>,
}

impl Shelf {
    /// Enters a rule under each of its ways; at the root where it has none.
    pub(crate) fn enter(&mut self, at: usize, trails: &[Vec<Step>]) {
        self.all.push(at);
        if trails.is_empty() {
            self.root.here.push(at);
        }
        for trail in trails {
            self.root.enter(at, trail.get(..DEPTH_MAX).unwrap_or(trail));
        }
    }

    /// The rules that a path without escapes can fit; one may come twice.
    pub(crate) fn find(&self, unescaped: &str, found: &mut Vec<usize>) {
        self.root.find(unescaped.split('/').skip(1), found);
    }

    /// All of its rules.
    pub(crate) fn all(&self) -> &[usize] {
        &self.all
    }
}

impl Node {
    fn enter(&mut self, at: usize, trail: &[Step]) {
        match trail.split_first() {
            None => self.here.push(at),
            Some((Step::Segment(segment), rest)) => {
                self.next
                    .entry(segment.clone())
                    .or_default()
                    .enter(at, rest);
            }
            Some((Step::Any, rest)) => self.any.get_or_insert_default().enter(at, rest),
        }
    }

    fn find<'p>(&self, mut path: impl Iterator<Item = &'p str> + Clone, found: &mut Vec<usize>) {
        found.extend_from_slice(&self.here);
        let Some(segment) = path.next() else { return };
        if let Some(next) = self.next.get(segment) {
            next.find(path.clone(), found);
        }
        if let Some(any) = &self.any {
            any.find(path, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(shelf: &Shelf, path: &str) -> Vec<usize> {
        let mut found = Vec::new();
        shelf.find(path, &mut found);
        found.sort_unstable();
        found
    }

    #[test]
    fn a_rule_is_found_on_its_way_and_beneath() {
        let segment = |text: &str| Step::Segment(text.into());
        let mut shelf = Shelf::default();
        shelf.enter(0, &[]);
        shelf.enter(1, &[vec![segment("v1")]]);
        shelf.enter(2, &[vec![segment("v1"), Step::Any, segment("x")]]);
        shelf.enter(3, &[vec![segment("v2")], vec![segment("v1"), segment("a")]]);
        for (path, rules) in [
            ("/", &[0][..]),
            ("/v1", &[0, 1]),
            ("/v1/a", &[0, 1, 3]),
            ("/v1/a/x", &[0, 1, 2, 3]),
            ("/v2/a/x/y", &[0, 3]),
        ] {
            assert_eq!(found(&shelf, path), rules, "{path}");
        }
        assert_eq!(shelf.all(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_way_that_is_too_long_ends_early() {
        let mut shelf = Shelf::default();
        shelf.enter(7, &[vec![Step::Any; 1000]]);
        assert_eq!(found(&shelf, &"/a".repeat(DEPTH_MAX)), [7]);
    }
}
