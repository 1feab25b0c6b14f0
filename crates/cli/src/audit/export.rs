//! `postern audit export`: a log's lines for other programs. Never exports behind a line that is not the one it should be.

use std::{
    io::{self, BufWriter, Write},
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
};

use postern_daemon::files;
use postern_proxy::audit::{MARK_FILE, Mark};

use super::{
    chain::{Broken, Chain},
    ocsf,
    source::{Log, Raw, directory},
};
use crate::Failure;

/// Writes a log's lines on standard output; exits with 0 where all were written, 1 where the chain breaks, 2 where the log
/// cannot be read
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    postern audit export /var/lib/postern-proxy/audit.jsonl --ocsf --since 1200 > events.jsonl\n  \
    postern audit export /var/lib/postern-proxy/audit.jsonl --new --mark | your-collector")]
pub(crate) struct Args {
    /// The log; with `audit.jsonl`, also what was put aside beside it
    file: PathBuf,
    /// Write HTTP Activity events of OCSF (class 4002) for calls, instead of the lines as they stand
    #[arg(long)]
    ocsf: bool,
    /// Begin with this line
    #[arg(long, value_name = "LINE")]
    since: Option<u64>,
    /// Begin behind the last line that was exported with --mark
    #[arg(long, conflicts_with = "since")]
    new: bool,
    /// Write down, once all lines are written, that they were exported: the gate may remove them when they are old enough
    #[arg(long)]
    mark: bool,
    /// Write lines as JSON, which they are in any case
    #[arg(long, hide = true)]
    json: bool,
}

/// Why an export ended early.
enum Stop {
    Unreadable(io::Error),
    Unwritable(io::Error),
    Broken(Broken),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// Exports.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let cannot = |error: io::Error| Failure::Usage(format!("{}: {error}", args.file.display()));
    let folder = directory(&args.file);
    let since = if args.new {
        let mark = Mark::read(folder).map_err(cannot)?;
        mark.map_or(1, |mark| mark.seq + 1)
    } else {
        args.since.unwrap_or(1)
    };
    let log = Log::of(&args.file).map_err(cannot)?;
    let mut output = BufWriter::new(io::stdout().lock());
    match export(&log, (since, args.ocsf), &mut output) {
        Ok(Some(mark)) if args.mark => {
            written(folder, &mark).map_err(|error| Failure::path(&folder.join(MARK_FILE), error))
        }
        Ok(_) => Ok(()),
        Err(Stop::Unreadable(error)) => Err(cannot(error)),
        // Whoever read standard output has heard enough; nothing is marked.
        Err(Stop::Unwritable(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Stop::Unwritable(error)) => Err(Failure::Run(format!("standard output: {error}"))),
        Err(Stop::Broken(Broken { line, place, what })) => Err(Failure::Run(format!(
            "line {line}: {what} ({place}): nothing is exported behind it"
        ))),
    }
}

/// Writes the lines from a number on, and says which was the last.
fn export(
    log: &Log,
    (since, as_ocsf): (u64, bool),
    output: &mut impl Write,
) -> Result<Option<Mark>, Stop> {
    let mut chain = Chain::default();
    let mut last = None;
    let walked: Result<(), Stop> = log.each(|raw: Raw| {
        // A line without its end may still be on its way; the next export has it.
        if !raw.ended {
            return Ok(());
        }
        let bytes = raw.bytes.clone();
        let step = chain.step(raw).map_err(Stop::Broken)?;
        if step.seq < since {
            return Ok(());
        }
        let line = if as_ocsf {
            ocsf::event(&bytes)
        } else {
            Some(bytes)
        };
        if let Some(mut line) = line {
            line.push(b'\n');
            output.write_all(&line).map_err(Stop::Unwritable)?;
        }
        let (seq, hash) = (step.seq, step.hash);
        last = Some(Mark { seq, hash });
        Ok(())
    });
    walked?;
    output.flush().map_err(Stop::Unwritable)?;
    Ok(last)
}

/// Writes the mark down for the gate, whose own it must be to be read.
fn written(folder: &Path, mark: &Mark) -> io::Result<()> {
    let path = folder.join(MARK_FILE);
    files::write_private(&path, serde_json::to_string(mark)?.as_bytes())?;
    let owner = folder.metadata()?;
    if owner.uid() != path.metadata()?.uid() {
        chown(&path, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::written::WrittenLog;

    fn exported(log: &WrittenLog, since: u64, as_ocsf: bool) -> (Vec<String>, Option<Mark>) {
        let mut output = Vec::new();
        let source = Log::of(&log.path()).unwrap();
        let last = export(&source, (since, as_ocsf), &mut output);
        let Ok(last) = last else {
            panic!("the chain breaks")
        };
        let text = String::from_utf8(output).unwrap();
        (text.lines().map(str::to_owned).collect(), last)
    }

    #[test]
    fn lines_are_exported_as_they_stand_from_any_on() {
        let log = WrittenLog::of(5);
        let (all, last) = exported(&log, 1, false);
        assert_eq!((all.len(), last.map(|mark| mark.seq)), (5, Some(5)));
        assert_eq!(all, log.lines());
        assert_eq!(exported(&log, 4, false).0, log.lines()[3..]);
        let (none, last) = exported(&log, 6, false);
        assert!(none.is_empty() && last.is_none());
        assert_eq!(exported(&log, 1, true).0.len(), 5);
    }

    #[test]
    fn nothing_is_exported_behind_a_line_that_was_changed() {
        let log = WrittenLog::of(5);
        log.change(|lines| lines[2] = lines[2].replace("/3", "/9"));
        let mut output = Vec::new();
        let result = export(&Log::of(&log.path()).unwrap(), (1, false), &mut output);
        assert!(matches!(result, Err(Stop::Broken(broken)) if broken.line == 3));
    }

    #[test]
    fn a_mark_says_how_far_and_the_next_export_goes_on_there() {
        let log = WrittenLog::of(3);
        let (_, last) = exported(&log, 1, false);
        written(directory(&log.path()), &last.unwrap()).unwrap();
        let mark = Mark::read(directory(&log.path())).unwrap().unwrap();
        assert_eq!(mark.seq, 3);
    }
}
