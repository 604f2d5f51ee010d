//! The lock that tells whether a session is at work, and keeps others out.

use std::io;
use std::path::Path;

use rustix::fs::FlockOperation;

use crate::directory_lock::DirectoryLock;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::image::Image;
use crate::open::{Access, ImageOptions, IoMode, Links};

/// What stands between a session and what it left.
pub(super) enum Guard {
    /// Nobody else has it, for as long as this lives.
    Held { _locked: Image },
    /// There is nothing to be locked: no session is at work. When it was taken, none leaves anything in
    /// the directory for as long as this lives.
    Absent { _directory: Option<DirectoryLock> },
    /// A session has it.
    InUse,
}

impl Guard {
    /// Asks whether a session has what stands at `path`, in the way of no reader.
    pub(super) fn ask(path: &Path) -> Result<Self> {
        Self::of(path, Access::Read, Links::Follow, FlockOperation::NonBlockingLockShared)
    }

    /// Keeps everybody away from what stands at `path`: a part, or the image itself, which is not opened
    /// for writing because that would break the lease of whoever reads it.
    pub(super) fn take(path: &Path, is_part: bool) -> Result<Self> {
        let (access, links) = match is_part {
            // Some network filesystems lock exclusively only what is open for writing.
            true => (Access::Write, Links::Refuse),
            false => (Access::Read, Links::Follow),
        };
        let take = || Self::of(path, access, links, FlockOperation::NonBlockingLockExclusive);
        let guard = take()?;
        if !matches!(guard, Self::Absent { .. }) {
            return Ok(guard);
        }
        // A session may begin at any time.
        let directory = match DirectoryLock::exclusive(path) {
            Err(Error::Busy { .. }) => return Ok(Self::InUse),
            locked => locked?,
        };
        Ok(match take()? {
            Self::Absent { .. } => Self::Absent { _directory: Some(directory) },
            other => other,
        })
    }

    fn of(path: &Path, access: Access, links: Links, operation: FlockOperation) -> Result<Self> {
        let options = ImageOptions { access, io: IoMode::Buffered, create: None, links };
        let locked = Image::open(path, &options).and_then(|image| {
            failpoint::pass("partials.lock").map_err(|error| Error::io("lock", path, error))?;
            image.lock_at_once(operation).map(|()| image)
        });
        match locked {
            Ok(image) => Ok(Self::Held { _locked: image }),
            Err(Error::Busy { .. } | Error::Replaced { .. } | Error::Changed { .. }) => {
                Ok(Self::InUse)
            }
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => {
                Ok(Self::Absent { _directory: None })
            }
            Err(error) => Err(error),
        }
    }
}
