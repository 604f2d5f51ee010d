//! The lock of a directory: between a session that puts a small file there, and `partials`, which removes
//! what belongs to no session.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::beside;
use crate::error::{Error, Result};
use crate::flock::{PATIENCE, flock_within};

/// A directory that is locked, unless it cannot be.
pub(crate) struct DirectoryLock(Option<File>);

impl DirectoryLock {
    /// For a session that is about to put something beside `path`. Where there is no such lock to be had,
    /// it goes on without.
    pub(crate) fn shared(path: &Path) -> Self {
        let locked = lock(beside::directory_of(path), FlockOperation::NonBlockingLockShared);
        Self(locked.ok().flatten())
    }

    /// For whoever is about to remove what is beside `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] while sessions put something there.
    pub(crate) fn exclusive(path: &Path) -> Result<Self> {
        let directory = beside::directory_of(path);
        lock(directory, FlockOperation::NonBlockingLockExclusive).map(Self).map_err(|error| {
            match error.kind() {
                io::ErrorKind::WouldBlock => Error::Busy { path: PathBuf::from(directory) },
                _ => Error::io("lock", directory, error),
            }
        })
    }
}

/// The lock goes now, even while a process that is being started has the directory open too.
impl Drop for DirectoryLock {
    fn drop(&mut self) {
        if let Some(directory) = &self.0 {
            // What cannot be unlocked goes with the file.
            let _ = flock(directory, FlockOperation::Unlock);
        }
    }
}

/// `None` where directories cannot be locked.
fn lock(directory: &Path, operation: FlockOperation) -> io::Result<Option<File>> {
    let file = File::open(directory)?;
    match flock_within(&file, operation, PATIENCE) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Err(Errno::WOULDBLOCK.into()),
        // Some network filesystems lock exclusively only what is open for writing.
        Err(_) => Ok(None),
    }
}
