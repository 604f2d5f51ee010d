//! A file and its path, so that every failure names what it failed on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, OFlags};

use crate::failure::{Failure, Result};

/// The unit of alignment, in bytes.
pub(crate) const BLOCK: usize = 4096;

/// Whether I/O goes through the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// `O_DIRECT`: memory, offsets and lengths are multiples of the block.
    Direct,
    /// Through the page cache.
    Buffered,
}

impl Access {
    fn open(self, options: &mut OpenOptions, path: &Path) -> io::Result<File> {
        if self == Self::Direct {
            options.custom_flags(OFlags::DIRECT.bits().cast_signed());
        }
        options.open(path)
    }
}

/// An open file.
#[derive(Debug)]
pub(crate) struct Image {
    file: File,
    path: PathBuf,
}

impl Image {
    /// Opens a file for reading.
    pub(crate) fn open(path: &str, access: Access) -> Result<Self> {
        Self::open_with(path, access, OpenOptions::new().read(true))
    }

    /// Opens a file that exists for reading and writing.
    pub(crate) fn open_for_writing(path: &str, access: Access) -> Result<Self> {
        Self::open_with(path, access, OpenOptions::new().read(true).write(true))
    }

    fn open_with(path: &str, access: Access, options: &mut OpenOptions) -> Result<Self> {
        let path = PathBuf::from(path);
        match access.open(options, &path) {
            Ok(file) => Ok(Self { file, path }),
            Err(cause) => Err(Failure::file("open", &path, cause)),
        }
    }

    /// Creates a file of `size` bytes that is one hole. The path must be free.
    pub(crate) fn create(path: &str, size: u64, access: Access) -> Result<Self> {
        let mut options = OpenOptions::new();
        let image = Self::open_with(path, access, options.read(true).write(true).create_new(true))?;
        image.file.set_len(size).map_err(|cause| image.failed("truncate", cause))?;
        Ok(image)
    }

    /// The size in bytes.
    pub(crate) fn size(&self) -> Result<u64> {
        let metadata = self.file.metadata().map_err(|cause| self.failed("stat", cause))?;
        Ok(metadata.len())
    }

    /// Fills the first `length` bytes of `buffer`, which must be large enough for them rounded up to a
    /// block: direct reads ask for whole blocks, at the end of the file too.
    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64, length: usize) -> Result<()> {
        let asked = length.next_multiple_of(BLOCK);
        let mut done = 0;
        while done < length {
            match self.file.read_at(&mut buffer[done..asked], offset + done as u64) {
                Ok(0) => return Err(self.failed("read", ErrorKind::UnexpectedEof.into())),
                Ok(count) => done += count,
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) => return Err(self.failed("read", cause)),
            }
        }
        Ok(())
    }

    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|cause| self.failed("write", cause))
    }

    /// Makes a range a hole.
    pub(crate) fn punch(&self, offset: u64, length: u64) -> Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.file, flags, offset, length)
            .map_err(|cause| self.failed("punch", cause.into()))
    }

    /// Allocates a range that holds no bytes yet and reads as zeros.
    pub(crate) fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, offset, length)
            .map_err(|cause| self.failed("allocate", cause.into()))
    }

    /// Puts bytes, size and allocation on the medium.
    pub(crate) fn fsync(&self) -> Result<()> {
        self.file.sync_all().map_err(|cause| self.failed("fsync", cause))
    }

    fn failed(&self, doing: &'static str, cause: io::Error) -> Failure {
        Failure::file(doing, &self.path, cause)
    }
}

/// Removes a file if it is there.
pub(crate) fn remove(path: &str) -> Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => {
            Err(Failure::file("remove", Path::new(path), cause))
        }
        _ => Ok(()),
    }
}
