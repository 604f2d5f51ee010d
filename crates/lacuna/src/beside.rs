//! Small files beside an image: read with a limit, replaced and removed so that it lasts.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::directory_lock::DirectoryLock;
use crate::error::{Error, Result};
use crate::failpoint;

/// What follows `.NAME` in the names that lacuna gives: the part of a new image, its record, the mark of one
/// that is written in place, and a small file that has not got its name yet.
pub(crate) const DATA: &str = ".lacuna-data";
pub(crate) const PARTIAL: &str = ".lacuna-partial";
pub(crate) const UNFINISHED: &str = ".lacuna-unfinished";
pub(crate) const DRAFT: &str = ".lacuna-draft";

/// `.NAME` and `suffix`, in the directory of `path`.
pub(crate) fn hidden(path: &Path, suffix: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(suffix);
    path.with_file_name(name)
}

/// The NAME of `.NAME` and `suffix`, if `hidden` is such a name.
pub(crate) fn shown<'a>(hidden: &'a OsStr, suffix: &str) -> Option<&'a OsStr> {
    let name = hidden.as_bytes().strip_prefix(b".")?.strip_suffix(suffix.as_bytes())?;
    Some(OsStr::from_bytes(name)).filter(|name| !["", ".", ".."].iter().any(|no| name == no))
}

/// The whole file, which must be a regular one of at most `limit` bytes, and no link to one.
pub(crate) fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = vec![];
    file.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, "larger than any file of its kind")),
        false => Ok(bytes),
    }
}

/// Replaces `path` by a file that holds what `fill` writes: at every instant the old or the new one is
/// there, and the new one lasts once this returns.
pub(crate) fn replace(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    put(path, DirectoryLock::shared(path), fill)
}

/// Makes `path` a file that holds `text`, unless there is one: at every instant there is none or that one, and
/// it lasts once this returns. Returns whether it was made.
pub(crate) fn create(path: &Path, text: &[u8]) -> Result<bool> {
    let guard = DirectoryLock::exclusive(path)?;
    let failed = |error| Error::io("write", path, error);
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            put(path, guard, |out| out.write_all(text).map_err(failed))?;
            Ok(true)
        }
        found => found.map(|_| false).map_err(failed),
    }
}

fn put(
    path: &Path,
    guard: DirectoryLock,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let draft = hidden(path, DRAFT);
    let failed = |error| Error::io("write", path, error);
    let written = write_new(&draft, fill, failed).and_then(|()| {
        failpoint::pass("beside.rename")
            .and_then(|()| std::fs::rename(&draft, path))
            .map_err(failed)
    });
    if let Err(error) = written {
        // The draft is worth nothing; what matters is why it could not be written.
        let _ = std::fs::remove_file(&draft);
        return Err(error);
    }
    drop(guard);
    sync_directory(path)
}

/// Makes `path` another name of `file`: at every instant it names that or what it named before, and it lasts
/// once this returns.
pub(crate) fn replace_by_link(path: &Path, file: &Path) -> Result<()> {
    let draft = hidden(path, DRAFT);
    let guard = DirectoryLock::shared(path);
    let linked = link_new(&draft, file).and_then(|()| {
        failpoint::pass("beside.rename").and_then(|()| std::fs::rename(&draft, path))
    });
    if let Err(error) = linked {
        // No more than another name of a file that has one.
        let _ = std::fs::remove_file(&draft);
        return Err(Error::io("replace", path, error));
    }
    drop(guard);
    sync_directory(path)
}

fn link_new(name: &Path, file: &Path) -> io::Result<()> {
    failpoint::pass("beside.link")?;
    match std::fs::remove_file(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::hard_link(file, name)
}

fn write_new(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
    failed: impl Fn(io::Error) -> Error + Copy,
) -> Result<()> {
    failpoint::pass("beside.write").map_err(failed)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = BufWriter::new(File::create_new(path).map_err(failed)?);
    fill(&mut file)?;
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    failpoint::pass("beside.sync").and_then(|()| file.sync_all()).map_err(failed)
}

/// Removes `path` so that it stays removed; fine when there is none, though whoever removed it may
/// not have made that last.
pub(crate) fn remove(path: &Path) -> Result<()> {
    // What an interrupted replacement left is worth nothing, and in nobody's way if it stays.
    let _ = std::fs::remove_file(hidden(path, DRAFT));
    remove_alone(path)
}

/// The same, of a file that nothing replaces.
pub(crate) fn remove_alone(path: &Path) -> Result<()> {
    let removed = failpoint::pass("beside.remove").and_then(|()| std::fs::remove_file(path));
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => sync_directory(path),
    }
}

/// `path`, links followed.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(path).map_err(|error| Error::io("open", path, error))
}

/// The files in the directory of `path`.
pub(crate) fn siblings(path: &Path) -> Result<Vec<PathBuf>> {
    entries(directory_of(path))
}

/// The files in `directory`.
pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
    });
    entries.map_err(|error| Error::io("list", directory, error))
}

/// `path`, and its other names in the same directory.
pub(crate) fn names_of(path: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io("stat", path, error);
    let metadata = std::fs::metadata(path).map_err(failed)?;
    let mut names = vec![path.to_owned()];
    if metadata.is_file() && metadata.nlink() > 1 {
        let is_other = |name: &PathBuf| {
            name != path
                && std::fs::symlink_metadata(name).is_ok_and(|other| {
                    (other.dev(), other.ino()) == (metadata.dev(), metadata.ino())
                })
        };
        names.extend(siblings(path)?.into_iter().filter(is_other));
    }
    Ok(names)
}

/// The directory that `path` is in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the names in the directory of `path` durable.
pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    let directory = directory_of(path);
    failpoint::pass("beside.sync-directory")
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(|error| Error::io("sync the directory", directory, error))
}
