//! Where the binaries under test are: beside the test executable, in the same profile's directory. Never builds them.

use std::path::PathBuf;

/// The multi-call binary.
#[must_use]
pub fn postern() -> PathBuf {
    find("postern")
}

/// A built binary by its name.
///
/// # Panics
/// When it was not built: `cargo build --release --bins` does that.
#[must_use]
pub fn find(name: &str) -> PathBuf {
    let test =
        std::env::current_exe().unwrap_or_else(|error| panic!("no path of this test: {error}"));
    let found = test
        .ancestors()
        .skip(1)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("`{name}` is not built: run `cargo build --release --bins` first")
    })
}
