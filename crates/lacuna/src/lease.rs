//! Asking the kernel whether anybody has a file open for writing.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::{Error, Result};
use crate::open::{Access, open};

/// `F_SETSIG` of `asm-generic/fcntl.h`.
const F_SETSIG: libc::c_int = 10;

/// Fails when any process has the file at `path` open for writing, this one included. A file on
/// which no lease is to be had (a foreign one, a device) passes.
///
/// # Errors
///
/// [`Error::OpenForWriting`], or that the file cannot be opened.
pub(crate) fn refuse_writers(path: &Path) -> Result<()> {
    let file = open(path, Access::Read, OFlags::empty())
        .map_err(|error| Error::io("open", path, error))?;
    // Whoever opens the file for writing just then breaks the lease. The signal that tells of it is
    // SIGIO otherwise, which ends the process.
    let asked = set(&file, F_SETSIG, libc::SIGURG)
        .and_then(|()| set(&file, libc::F_SETLEASE, libc::F_RDLCK))
        .and_then(|()| set(&file, libc::F_SETLEASE, libc::F_UNLCK));
    match asked {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(Error::OpenForWriting { path: path.to_owned() })
        }
        Err(error) => {
            tracing::debug!(path = %path.display(), %error, "no lease to be had");
            Ok(())
        }
    }
}

fn set(file: &File, what: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: F_SETSIG and F_SETLEASE take an open descriptor and an int; the descriptor outlives the
    // call.
    match unsafe { libc::fcntl(file.as_raw_fd(), what, value) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
