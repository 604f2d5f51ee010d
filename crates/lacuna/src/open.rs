//! Opening what may become an image, and the options for it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::direct::DirectFile;
use crate::error::{Error, Result};
use crate::stamp::FileId;

/// What an image is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing. A device is opened exclusively: a mounted one is refused.
    Write,
    /// As `Write`, by a single open file, so that the kernel can tell whether there is another.
    Alone,
}

/// Which way bytes take between an image and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoMode {
    /// The faster one for each request: large runs directly, small pieces through the page cache.
    /// Where the filesystem has no direct I/O, and for reading a file that is in the page cache
    /// already, everything through it.
    #[default]
    Auto,
    /// Through the page cache.
    Buffered,
    /// Past the page cache, or not at all. Only what no direct write can do, a piece smaller than
    /// the unit of the device, goes through the cache.
    Direct,
}

/// How to open an image.
#[derive(Clone, Copy, Debug)]
pub struct ImageOptions {
    /// For reading or for writing.
    pub access: Access,
    /// Direct or buffered.
    pub io: IoMode,
    /// Create the file, which must not exist, with these permission bits less the umask.
    pub create: Option<u32>,
    /// What to do about a name that is a symbolic link.
    pub links: Links,
}

/// Whether the name of an image may be a symbolic link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// It leads to the image.
    #[default]
    Follow,
    /// It is refused.
    Refuse,
}

impl Default for ImageOptions {
    fn default() -> Self {
        Self { access: Access::Read, io: IoMode::default(), create: None, links: Links::Follow }
    }
}

/// Opens a file so that neither a FIFO blocks nor a child process inherits it.
pub(crate) fn open(path: &Path, access: Access, flags: OFlags) -> io::Result<File> {
    let rights = match access {
        Access::Read => OFlags::RDONLY,
        Access::Write | Access::Alone => OFlags::RDWR,
    };
    let flags = rights | flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Creates a file that does not exist.
pub(crate) fn create(path: &Path, mode: u32) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::from_raw_mode(mode))?.into())
}

/// Opens a file that exists.
pub(crate) fn existing(path: &Path, options: &ImageOptions) -> Result<File> {
    let flags = match options.links {
        Links::Follow => OFlags::empty(),
        Links::Refuse => OFlags::NOFOLLOW,
    };
    open(path, options.access, flags).map_err(|error| {
        // A socket, and a directory that is to be written, cannot even be opened.
        let kind = std::fs::metadata(path).map(|metadata| metadata.file_type());
        match kind.map(|kind| is_device(path, kind)) {
            Ok(Err(not_an_image)) => not_an_image,
            _ => refused(path, error),
        }
    })
}

/// Why a file could not be opened, which never waits for whoever has a lease on it.
pub(crate) fn refused(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => Error::Busy { path: path.to_owned() },
        _ => Error::io("open", path, error),
    }
}

/// Whether it is a device, when it can be an image at all.
pub(crate) fn is_device(path: &Path, kind: std::fs::FileType) -> Result<bool> {
    let what = match kind {
        _ if kind.is_file() => return Ok(false),
        _ if kind.is_block_device() => return Ok(true),
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a character device",
    };
    Err(Error::NotAnImage { path: path.to_owned(), what })
}

/// The same file for direct I/O, as far as that is wanted and possible.
pub(crate) fn direct(
    path: &Path,
    file: &File,
    options: &ImageOptions,
) -> Result<Option<DirectFile>> {
    match (options.io, options.access) {
        (IoMode::Buffered, _) | (IoMode::Auto, Access::Alone) => return Ok(None),
        (IoMode::Direct, Access::Alone) => return DirectFile::turn(path, file).map(Some),
        _ => {}
    }
    let id = FileId::of(file).map_err(|error| Error::io("stat", path, error))?;
    match DirectFile::open(path, options.access, id) {
        Ok(direct) => Ok(Some(direct)),
        Err(Error::NotDirect { reason, .. }) if options.io == IoMode::Auto => {
            tracing::debug!(path = %path.display(), reason, "buffered");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
