//! Leases: asking the kernel whether anybody else has a file open, and being told before anybody opens
//! it. Whoever wants to waits until the lease is gone, 45 seconds at most (fcntl(2)).
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::error::{Error, Result};
use crate::filesystem::is_remote;
use crate::image::Image;
use crate::open::{Access, open, refused};
use crate::progress::Cancel;

/// `F_SETSIG` of `asm-generic/fcntl.h`.
const F_SETSIG: libc::c_int = 10;

/// How long a lease is tried for: a program that is being started has the files of its parent open
/// until it runs.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long a reader who comes in between may take.
const READER_PATIENCE: Duration = Duration::from_secs(10);

/// What nobody else has open for writing; nor for reading, when it was opened
/// [alone](Access::Alone).
pub(crate) struct Lease {
    file: File,
    path: PathBuf,
    kind: libc::c_int,
    /// Shared by those who rely on the lease at the moment.
    gate: RwLock<()>,
    /// The image was written to while readers were let in.
    changed: AtomicBool,
    cancel: Cancel,
}

impl Lease {
    /// Takes a lease on `image`, which was not opened for [`Access::Write`]. `None` where there is none
    /// to be had: a device, a foreign filesystem, a file of another user.
    ///
    /// # Errors
    ///
    /// [`Error::OpenForWriting`], [`Error::OpenElsewhere`].
    pub(crate) fn take(image: &Image, cancel: &Cancel) -> Result<Option<Self>> {
        let path = image.path();
        // It goes with the open file, whatever descriptor leads to it.
        let file = image.file().try_clone().map_err(|error| Error::io("lease", path, error))?;
        let kind = if image.is_alone() { libc::F_WRLCK } else { libc::F_RDLCK };
        let lease = Self::new(file, path, kind, cancel);
        Ok(lease.set(PATIENCE)?.then_some(lease))
    }

    fn new(file: File, path: &Path, kind: libc::c_int, cancel: &Cancel) -> Self {
        let (path, cancel) = (path.to_owned(), cancel.clone());
        Self { file, path, kind, gate: RwLock::default(), changed: AtomicBool::new(false), cancel }
    }

    /// False where there is no lease to be had.
    fn set(&self, patience: Duration) -> Result<bool> {
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
                // Of a server that has lent nothing of the file.
                Err(_) if is_remote(&self.file) => return Ok(false),
                Err(_) if begun.elapsed() < patience => {
                    self.cancel.check()?;
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(_) => return Err(self.broken()),
            }
        }
    }

    /// Until what this returns is dropped, nobody else has `image` open, as far as the lease goes: what
    /// is read and what is punched because of that belong under one of these. Whoever wants to read it is
    /// let in first and waited for, for a while.
    ///
    /// # Errors
    ///
    /// [`Error::OpenForWriting`], [`Error::OpenElsewhere`]; [`Error::Changed`] when it was written to
    /// while a reader was let in; [`Error::Cancelled`].
    pub(crate) fn hold(&self, image: &Image) -> Result<RwLockReadGuard<'_, ()>> {
        loop {
            self.cancel.check()?;
            let held = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            if self.left()? == self.kind {
                return Ok(held);
            }
            drop(held);
            self.let_in_readers(image)?;
        }
    }

    /// Fails when somebody waits to write, or has waited for too long and may by now. Readers who wait
    /// go on waiting, or have what is left of the lease between them and any writer.
    pub(crate) fn refuse_writer(&self) -> Result<()> {
        self.left().map(drop)
    }

    /// What there is of the lease for as long as nobody waits to write.
    fn left(&self) -> Result<libc::c_int> {
        match fcntl(&self.file, libc::F_GETLEASE, 0) {
            Ok(kind) if kind == self.kind || kind == libc::F_RDLCK => Ok(kind),
            Ok(_) => Err(self.broken()),
            Err(error) => Err(Error::io("ask for the lease of", &self.path, error)),
        }
    }

    /// Gives the lease back, and takes it again once those who want to read are gone.
    fn let_in_readers(&self, image: &Image) -> Result<()> {
        let _nobody_relies_on_it = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have let them in meanwhile.
        if self.left()? == self.kind {
            return Ok(());
        }
        // They wait for as long as that takes.
        let before = image.settled_stamp()?;
        self.give_back()?;
        if !self.set(READER_PATIENCE)? {
            return Err(self.broken());
        }
        let unchanged = image.check_unchanged(&before);
        if unchanged.is_err() {
            // Nor is any other thread to go on.
            self.changed.store(true, Ordering::Release);
            self.give_back()?;
        }
        unchanged
    }

    fn give_back(&self) -> Result<()> {
        let given = fcntl(&self.file, libc::F_SETLEASE, libc::F_UNLCK);
        given.map(drop).map_err(|error| Error::io("give back the lease of", &self.path, error))
    }

    /// Why there is nothing left of the lease: what another thread has found out, or somebody who came.
    fn broken(&self) -> Error {
        let path = self.path.clone();
        match self.kind {
            _ if self.cancel.is_cancelled() => Error::Cancelled,
            _ if self.changed.load(Ordering::Acquire) => Error::Changed { path },
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
pub(crate) fn refuse_writers(path: &Path, cancel: &Cancel) -> Result<()> {
    let file = open(path, Access::Read, OFlags::empty()).map_err(|error| refused(path, error))?;
    Lease::new(file, path, libc::F_RDLCK, cancel).set(PATIENCE).map(drop)
}

fn fcntl(file: &File, what: libc::c_int, value: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: F_SETSIG, F_SETLEASE and F_GETLEASE take an open descriptor and an int; the descriptor
    // outlives the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), what, value) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::open::ImageOptions;

    /// Another thread may be about to punch what it read before.
    #[test]
    fn once_the_image_has_changed_nobody_relies_on_the_lease_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0; 8192]).unwrap();
        let path = file.into_temp_path();
        let options = ImageOptions { access: Access::Alone, ..ImageOptions::default() };
        let image = Image::open(&path, &options).unwrap();
        let Some(lease) = Lease::take(&image, &Cancel::default()).unwrap() else { return };
        drop(lease.hold(&image).unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _reader = File::open(&path).unwrap();
                let writer = File::options().write(true).open(&path).unwrap();
                writer.write_all_at(&[7], 0).unwrap();
            });
            while fcntl(&lease.file, libc::F_GETLEASE, 0).unwrap() == lease.kind {
                std::thread::yield_now();
            }
            for _ in 0..2 {
                assert!(lease.hold(&image).is_err());
            }
        });
        assert!(lease.hold(&image).is_err());
    }
}
