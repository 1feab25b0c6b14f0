//! The house under test: budgets, headers, rooms and who may depend on whom. Reads the tree; never builds or runs it.
//! Allow-lists here only shrink.

mod files;
mod incidents;
mod rooms;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The root of the checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// One Rust file of the project.
struct Source {
    /// From the root, with slashes.
    path: String,
    text: String,
}

impl Source {
    /// The text before the inline tests.
    fn production(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod tests {").next().unwrap()
    }

    /// The part of the file that is test code.
    fn tests(&self) -> &str {
        if self.is_test() {
            return &self.text;
        }
        &self.text[self.production().len()..]
    }

    /// Whether the whole file is test code.
    fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.starts_with("crates/testkit/")
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
    }
}

/// Every Rust file of the project, in order of its path.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["crates", "proxy", "runtime", "tests"] {
        collect(&root().join(folder), &mut found);
    }
    assert!(
        found.len() > 50,
        "the tree is not where this test looks for it"
    );
    found.sort_by(|one, two| one.path.cmp(&two.path));
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path
                .strip_prefix(root())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            found.push(Source { path, text });
        }
    }
}

/// Fails with every finding on a line of its own.
fn none(findings: &[String], what: &str) {
    assert!(findings.is_empty(), "{what}:\n  {}", findings.join("\n  "));
}
