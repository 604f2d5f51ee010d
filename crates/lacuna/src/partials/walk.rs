//! The directories below one, on its filesystem.

use std::fs::DirEntry;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::leftover::Leftover;
use crate::error::{Error, Result};

/// A walk through a directory and all those below it. Links are not followed.
pub(super) struct Walk {
    /// Of the filesystem that the walk stays on.
    device: u64,
    /// What is still to be looked into, the next one last.
    rest: Vec<PathBuf>,
    /// Where this user may not look.
    pub(super) unread: Vec<PathBuf>,
    pub(super) errors: Vec<Error>,
}

/// What matters of an entry of a directory.
enum Found {
    Directory(PathBuf),
    Leftover(Leftover),
}

impl Walk {
    /// One that begins with `root`, which must be there.
    pub(super) fn new(root: &Path) -> Result<Self> {
        let metadata = std::fs::read_dir(root).and_then(|_| std::fs::metadata(root));
        let device = metadata.map_err(|error| Error::io("list", root, error))?.dev();
        Ok(Self { device, rest: vec![root.to_owned()], unread: vec![], errors: vec![] })
    }

    /// What is left in the next directory, in the order in which it may go; `None` after the last one.
    pub(super) fn next_directory(&mut self) -> Option<Vec<Leftover>> {
        let directory = self.rest.pop()?;
        let (mut below, mut leftovers) = (vec![], vec![]);
        for found in self.list(&directory) {
            match found {
                Found::Directory(path) => below.push(path),
                Found::Leftover(leftover) => leftovers.push(leftover),
            }
        }
        below.sort_unstable();
        self.rest.extend(below.into_iter().rev());
        leftovers.sort_unstable_by(|one, other| one.order().cmp(&other.order()));
        Some(leftovers)
    }

    fn list(&mut self, directory: &Path) -> Vec<Found> {
        let entries = std::fs::read_dir(directory);
        let entries = match entries.and_then(|entries| entries.collect::<io::Result<Vec<_>>>()) {
            Ok(entries) => entries,
            Err(error) => {
                self.note(directory.to_owned(), error);
                return vec![];
            }
        };
        let mut all = vec![];
        for entry in entries {
            match self.look(directory, &entry) {
                Ok(found) => all.extend(found),
                Err(error) => self.note(entry.path(), error),
            }
        }
        all
    }

    fn look(&self, directory: &Path, entry: &DirEntry) -> io::Result<Option<Found>> {
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let is_here = entry.metadata()?.dev() == self.device;
            if !is_here {
                tracing::info!("{} is another filesystem", entry.path().display());
            }
            return Ok(is_here.then(|| Found::Directory(entry.path())));
        }
        match kind.is_file() {
            true => Ok(Leftover::of(directory, entry)?.map(Found::Leftover)),
            false => Ok(None),
        }
    }

    /// What could not be looked at, unless it is gone by now.
    fn note(&mut self, path: PathBuf, error: io::Error) {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {}
            io::ErrorKind::PermissionDenied => self.unread.push(path),
            _ => self.errors.push(Error::io("list", &path, error)),
        }
    }
}
