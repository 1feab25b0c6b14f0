//! `postern pack`: a directory or an archive becomes an image that sandboxes mount as it is, so that nothing is unpacked at a start.
//! Never puts anything into one that would not be unpacked, and never trusts one: the config pins what it may mount.

mod feed;
mod room;

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::{
    libc::{O_NOFOLLOW, O_NONBLOCK},
    unistd::{fchown, getegid, geteuid},
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    Failure,
    terminal::{complain, say},
};
use room::{Room, Tree};

/// How much is read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Makes an image of an agent's files, which a sandbox mounts as it is
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  postern pack desk.tar.gz -o desk.erofs\n\nNeeds mkfs.erofs (erofs-utils). The line that it prints goes into the agent's table; the sha256\nin it is what makes the image one that is mounted."
)]
pub(crate) struct Args {
    /// A directory, or an archive as agents may come in (.tar, .tar.gz, .tar.zst, .zip)
    from: PathBuf,

    /// The image; one that is there already is replaced
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Make it smaller, and reading it slower
    #[arg(long)]
    compress: bool,

    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

/// What was made.
struct Packed {
    image: PathBuf,
    bytes: u64,
    sha256: String,
    entries: u64,
    file_bytes: u64,
}

/// Packs, and says what belongs into the config.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let name = args
        .output
        .file_name()
        .ok_or_else(|| Failure::Usage(format!("{} is no name of a file", args.output.display())))?;
    let beside = match args.output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |error: io::Error| Failure::path(beside, error);
    // Where the image will be there is room for what becomes it.
    let folder = tempfile::Builder::new()
        .prefix(".postern-pack-")
        .tempdir_in(beside)
        .map_err(failed)?;
    complain(&format!("packing {}", args.from.display()));
    let place = folder.path().canonicalize().map_err(failed)?;
    let packed = pack(args, &place.join("in-memory"), Tree::InMemory);
    // Whatever went wrong may be that there was not enough of it.
    let packed = packed.or_else(|_| pack(args, &place.join("on-disk"), Tree::OnDisk))?;
    fs::rename(&packed.image, &args.output).map_err(|error| Failure::path(&args.output, error))?;
    File::open(beside)
        .and_then(|directory| directory.sync_all())
        .map_err(failed)?;
    tell(args, &name.to_string_lossy(), &packed);
    Ok(())
}

/// Leaves the image in a directory of our own beside what it is to be.
fn pack(args: &Args, place: &Path, tree: Tree) -> Result<Packed, Failure> {
    fs::create_dir(place).map_err(|error| Failure::path(place, error))?;
    let mut room = Room::make(place, tree)?;
    let report = room.unpack(feed::open(&args.from)?);
    let made = report.and_then(|report| room.make_image(args.compress).map(|()| report));
    // Before anything is believed of the image, nobody is left who could write to it.
    room.clear();
    let report = made?;
    let image = place.join(room::IMAGE);
    let taken = take_over(&place.join(room::MADE).join(room::IMAGE), &image);
    let (bytes, sha256) = taken.map_err(|error| Failure::path(&image, error))?;
    Ok(Packed {
        image,
        bytes,
        sha256,
        entries: report.entries,
        file_bytes: report.bytes,
    })
}

/// Makes what a program in a sandbox made one's own, and says how long it is and what it hashes to.
fn take_over(made: &Path, to: &Path) -> io::Result<(u64, String)> {
    let mut image = File::options()
        .read(true)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK)
        .open(made)?;
    if !image.metadata()?.is_file() {
        return Err(io::Error::other(
            "mkfs.erofs made something that is no file",
        ));
    }
    fchown(&image, Some(geteuid()), Some(getegid()))?;
    image.set_permissions(fs::Permissions::from_mode(0o644))?;
    image.sync_all()?;
    let (mut hasher, mut piece, mut bytes) = (Sha256::new(), vec![0; PIECE_BYTES], 0);
    loop {
        let read = image.read(&mut piece)?;
        if read == 0 {
            break;
        }
        hasher.update(&piece[..read]);
        bytes += read as u64;
    }
    fs::rename(made, to)?;
    Ok((bytes, hex::encode(hasher.finalize())))
}

fn tell(args: &Args, name: &str, packed: &Packed) {
    let Packed {
        bytes,
        sha256,
        entries,
        file_bytes,
        ..
    } = packed;
    if args.json {
        let told = json!({
            "image": args.output, "bytes": bytes, "sha256": sha256, "entries": entries, "file_bytes": file_bytes,
        });
        return say(&told.to_string());
    }
    say(&format!(
        "{}: {bytes} bytes of {entries} files and directories with {file_bytes} bytes",
        args.output.display()
    ));
    let path = serde_json::Value::from(name);
    say(&format!(
        "source = {{ object = {{ path = {path}, sha256 = \"{sha256}\" }} }}"
    ));
}
