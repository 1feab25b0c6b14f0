//! Standard output and standard error. Never panics when nobody reads them any more.

use std::io::{self, Write};

/// A line on standard output, at once.
pub(crate) fn say(line: &str) {
    let mut output = io::stdout().lock();
    // Whoever closed the other end does not want to hear; the work goes on.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

/// A line on standard error.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
