//! Who else has an image open, and whether its name still leads to it.

use std::io;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::Image;
use crate::error::{Error, Result};
use crate::flock::{PATIENCE, flock_within};
use crate::open::Access;
use crate::stamp::FileId;

impl Image {
    /// Locks the image, shared when it was opened for reading and exclusively for writing, soon or not at
    /// all. Afterwards the name still leads to this file, and its size is what it was.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when another holds it, [`Error::Replaced`] or [`Error::Changed`] when the file is
    /// no longer the one that was opened.
    pub fn lock(&self) -> Result<()> {
        let operation = match self.access {
            Access::Read => FlockOperation::NonBlockingLockShared,
            Access::Write | Access::Alone => FlockOperation::NonBlockingLockExclusive,
        };
        self.lock_by(operation, PATIENCE)
    }

    /// The same, by `operation`, at once or not at all.
    pub(crate) fn lock_at_once(&self, operation: FlockOperation) -> Result<()> {
        self.lock_by(operation, Duration::ZERO)
    }

    fn lock_by(&self, operation: FlockOperation, patience: Duration) -> Result<()> {
        match flock_within(&self.file, operation, patience) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(Error::Busy { path: self.path.clone() }),
            Err(errno) => return Err(self.error("lock", errno)),
        }
        self.check_name()?;
        // Whoever had the lock before may have changed the size after it was asked for here.
        match self.stamp()?.size == self.size {
            true => Ok(()),
            false => Err(Error::Changed { path: self.path.clone() }),
        }
    }

    /// Fails when the name leads to another file than this by now.
    pub(crate) fn check_name(&self) -> Result<()> {
        let replaced = || Error::Replaced { path: self.path.clone() };
        match std::fs::metadata(&self.path) {
            Ok(named) if FileId::from_metadata(&named) == self.stamp()?.id => Ok(()),
            Ok(_) => Err(replaced()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(replaced()),
            Err(error) => Err(self.error("stat", error)),
        }
    }
}

/// The lock goes with the image, even while a process that is being started has it open too.
impl Drop for Image {
    fn drop(&mut self) {
        // What was not locked cannot be unlocked, and what cannot be unlocked goes with the file.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}
