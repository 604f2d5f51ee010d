//! Leases: asking the kernel whether anybody else has a file open, and being told before anybody opens
//! it. Whoever wants to waits until the lease is gone, 45 seconds at most (fcntl(2)).
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::error::{Error, Result};
use crate::image::Image;
use crate::open::{Access, open};

/// `F_SETSIG` of `asm-generic/fcntl.h`.
const F_SETSIG: libc::c_int = 10;

/// How long a lease is tried for: a program that is being started has the files of its parent open
/// until it runs.
const PATIENCE: Duration = Duration::from_millis(200);

/// What nobody else has open for writing; nor for reading, when it was opened
/// [alone](Access::Alone).
pub(crate) struct Lease {
    file: File,
    path: PathBuf,
    kind: libc::c_int,
}

impl Lease {
    /// Takes a lease on `image`, which was not opened for [`Access::Write`]. `None` where there is none
    /// to be had: a device, a foreign filesystem, a file of another user.
    ///
    /// # Errors
    ///
    /// [`Error::OpenForWriting`], [`Error::OpenElsewhere`].
    pub(crate) fn take(image: &Image) -> Result<Option<Self>> {
        let path = image.path();
        // It goes with the open file, whatever descriptor leads to it.
        let file = image.file().try_clone().map_err(|error| Error::io("lease", path, error))?;
        let kind = if image.is_alone() { libc::F_WRLCK } else { libc::F_RDLCK };
        let lease = Self { file, path: path.to_owned(), kind };
        Ok(lease.set()?.then_some(lease))
    }

    /// False where there is no lease to be had.
    fn set(&self) -> Result<bool> {
        let begun = Instant::now();
        loop {
            // The signal that tells of whoever comes is SIGIO otherwise, which ends the process.
            let asked = fcntl(&self.file, F_SETSIG, libc::SIGURG)
                .and_then(|_| fcntl(&self.file, libc::F_SETLEASE, self.kind));
            match asked {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    tracing::debug!(path = %self.path.display(), %error, "no lease to be had");
                    return Ok(false);
                }
                Err(_) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(_) => return Err(self.broken()),
            }
        }
    }

    /// Fails when somebody waits to open the file, or has waited for too long and has it open by now.
    pub(crate) fn check(&self) -> Result<()> {
        match fcntl(&self.file, libc::F_GETLEASE, 0) {
            Ok(kind) if kind == self.kind => Ok(()),
            Ok(_) => Err(self.broken()),
            Err(error) => Err(Error::io("ask for the lease of", &self.path, error)),
        }
    }

    fn broken(&self) -> Error {
        let path = self.path.clone();
        match self.kind {
            libc::F_RDLCK => Error::OpenForWriting { path },
            _ => Error::OpenElsewhere { path },
        }
    }
}

/// The lease goes at once, even while a process that is being started has the file open too.
impl Drop for Lease {
    fn drop(&mut self) {
        // One that the kernel has taken away is gone as well.
        let _ = fcntl(&self.file, libc::F_SETLEASE, libc::F_UNLCK);
    }
}

/// Fails when any process has the file at `path` open for writing, this one included. A file on
/// which no lease is to be had passes.
///
/// # Errors
///
/// [`Error::OpenForWriting`], or that the file cannot be opened.
pub(crate) fn refuse_writers(path: &Path) -> Result<()> {
    let file = open(path, Access::Read, OFlags::empty())
        .map_err(|error| Error::io("open", path, error))?;
    let lease = Lease { file, path: path.to_owned(), kind: libc::F_RDLCK };
    lease.set().map(drop)
}

fn fcntl(file: &File, what: libc::c_int, value: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: F_SETSIG, F_SETLEASE and F_GETLEASE take an open descriptor and an int; the descriptor
    // outlives the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), what, value) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}
