//! The mark beside an image that is being written in place and is neither old nor new:
//! `.NAME.lacuna-unfinished`.

use std::io;
use std::path::{Path, PathBuf};

use crate::beside;
use crate::error::{Error, Result};

/// What a sync writes there; other operations say who they are and what they need to go on.
pub(crate) const SYNC: &str = "A lacuna session was writing the image beside this file and has not finished.\n\
    Repeat the session: it compares again and completes the image. If the image was made good in another\n\
    way, remove this file.\n";

/// The mark of the image at `path`, links followed.
pub(crate) fn of(path: &Path) -> PathBuf {
    beside::hidden(path, beside::UNFINISHED)
}

/// Fails when an interrupted session left `path` marked.
pub(crate) fn refuse(path: &Path) -> Result<()> {
    let metadata =
        std::fs::symlink_metadata(path).map_err(|error| Error::io("open", path, error))?;
    // Where the directory really is need not concern whoever has named it in another way.
    let real = if metadata.is_symlink() { beside::resolve(path)? } else { path.to_owned() };
    let names = beside::names_of(&real)?;
    names.iter().try_for_each(|name| refuse_name(path, of(name)))
}

fn refuse_name(path: &Path, mark: PathBuf) -> Result<()> {
    match std::fs::symlink_metadata(&mark) {
        Ok(_) => Err(Error::Unfinished { path: path.to_owned(), mark }),
        // A name that leaves no room for a mark never had one.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename) =>
        {
            Ok(())
        }
        Err(error) => Err(Error::io("stat", &mark, error)),
    }
}
