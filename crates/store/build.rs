//! Has the migrations embedded anew when one is added. Never generates code.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    writeln!(io::stdout(), "cargo::rerun-if-changed=migrations")
}
