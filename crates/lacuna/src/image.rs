//! An image: an open regular file or block device that holds a disk.

mod bytes;
mod lock;
mod space;

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, Mode, OFlags, SeekFrom, flock, fstatvfs, seek};
use rustix::io::Errno;

use crate::direct::DirectFile;
use crate::error::{Error, Result};
use crate::extent::BLOCK;
use crate::failpoint;
use crate::open::{self, Access, ImageOptions, IoMode};
use crate::page_cache::cached_pages;
use crate::stamp::{FileId, Stamp};
pub use space::LONGEST_CLEAR;

/// How often an image is looked at that changes between two looks.
const SETTLE_TRIES: u32 = 4;

/// An open image. All methods but [`truncate`](Self::truncate) may be called from many threads.
pub struct Image {
    file: File,
    direct: Option<DirectFile>,
    io: IoMode,
    path: PathBuf,
    access: Access,
    is_device: bool,
    size: u64,
    unit: u64,
    mode: u32,
    is_cached: bool,
    passed_cache: AtomicBool,
    sync_failed: AtomicBool,
}

impl Image {
    /// Opens the image at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::NotAnImage`], [`Error::NotDirect`] when direct I/O was asked for, or the system's.
    pub fn open(path: &Path, options: &ImageOptions) -> Result<Self> {
        let opened = Self::of(path, open_file(path, options)?, options);
        if opened.is_err() && options.create.is_some() {
            discard(path);
        }
        opened
    }

    fn of(
        path: &Path,
        (file, metadata, is_device): (File, Metadata, bool),
        options: &ImageOptions,
    ) -> Result<Self> {
        let size = match is_device {
            true => seek(&file, SeekFrom::End(0)).map_err(Into::into),
            false => Ok(metadata.len()),
        };
        let size = size.map_err(|error: io::Error| Error::io("find the size of", path, error))?;
        // What lies in memory is not fetched from the disk again, nor pushed out.
        let is_cached = options.io == IoMode::Auto && is_cached(&file, &metadata);
        let io = match is_cached && options.access == Access::Read {
            true => IoMode::Buffered,
            false => options.io,
        };
        let options = &ImageOptions { io, ..*options };
        let direct = open::direct(path, &file, options)?;
        let fs =
            fstatvfs(&file).map_err(|error| Error::io("stat the filesystem of", path, error))?;
        Ok(Self {
            file,
            direct,
            io,
            path: path.to_owned(),
            access: options.access,
            is_device,
            size,
            unit: allocation_unit(fs.f_frsize),
            mode: metadata.mode() & 0o7777,
            is_cached,
            passed_cache: AtomicBool::new(false),
            sync_failed: AtomicBool::new(false),
        })
    }

    /// The name it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that are allocated for it; the size of a device.
    pub fn allocated_bytes(&self) -> Result<u64> {
        if self.is_device {
            return Ok(self.size);
        }
        // st_blocks counts in units of 512 bytes, whatever the filesystem's block (stat(2)).
        let metadata = self.file.metadata().map_err(|error| self.error("stat", error))?;
        Ok(metadata.blocks().saturating_mul(512))
    }

    /// How many bytes are best read at once: what lies in memory, little enough to stay near the core.
    pub fn read_size(&self) -> usize {
        if self.is_cached { 256 << 10 } else { 1 << 20 }
    }

    /// Whether it is a block device.
    pub fn is_device(&self) -> bool {
        self.is_device
    }

    /// Permission bits.
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// The unit in which the filesystem allocates, in bytes, at least [`BLOCK`].
    pub fn allocation_unit(&self) -> u64 {
        self.unit
    }

    /// Whether it was opened by a single open file.
    pub(crate) fn is_alone(&self) -> bool {
        self.access == Access::Alone
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Fails when this is a device of less than `needed` bytes.
    pub(crate) fn refuse_smaller(&self, needed: u64) -> Result<()> {
        match self.is_device && self.size < needed {
            true => Err(Error::TooSmall { path: self.path.clone(), size: self.size, needed }),
            false => Ok(()),
        }
    }

    /// Which file this is, and in which state.
    pub fn stamp(&self) -> Result<Stamp> {
        let metadata = self.file.metadata().map_err(|error| self.error("stat", error))?;
        Ok(Stamp {
            id: FileId::from_metadata(&metadata),
            size: if self.is_device { self.size } else { metadata.len() },
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// The stamp, once the clock of the filesystem has moved on from it: a change that comes after
    /// this returns has another time.
    ///
    /// # Errors
    ///
    /// [`Error::Changed`] when the image changes meanwhile, and goes on doing so.
    pub fn settled_stamp(&self) -> Result<Stamp> {
        for _ in 0..SETTLE_TRIES {
            let stamp = self.stamp()?;
            if !self.is_device {
                std::thread::sleep(stamp.time_to_settle());
            }
            if self.is_device || self.stamp()? == stamp {
                return Ok(stamp);
            }
        }
        Err(Error::Changed { path: self.path.clone() })
    }

    /// Fails when the image is no longer what it was at `before`. A device is always itself.
    ///
    /// # Errors
    ///
    /// [`Error::Changed`].
    pub fn check_unchanged(&self, before: &Stamp) -> Result<()> {
        match self.is_device || self.stamp()? == *before {
            true => Ok(()),
            false => Err(Error::Changed { path: self.path.clone() }),
        }
    }

    /// Makes data, size and layout durable.
    ///
    /// # Errors
    ///
    /// The system's. What was written before is not to be counted on then.
    pub fn sync(&self) -> Result<()> {
        // The system says once that something could not be written, and then counts it as written:
        // a sync after one that failed proves nothing (fsync(2)).
        let synced = match self.sync_failed.load(Ordering::Acquire) {
            true => Err(Errno::IO.into()),
            false => failpoint::pass("image.sync").and_then(|()| self.file.sync_all()),
        };
        synced.map_err(|error| {
            self.sync_failed.store(true, Ordering::Release);
            self.error("sync", error)
        })
    }

    /// Sets the permission bits.
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))
            .map_err(|errno| self.error("set the permissions of", errno))
    }

    fn error(&self, operation: &'static str, error: impl Into<io::Error>) -> Error {
        Error::io(operation, &self.path, error)
    }
}

fn open_file(path: &Path, options: &ImageOptions) -> Result<(File, Metadata, bool)> {
    let file = match options.create {
        Some(mode) => open::create(path, mode).map_err(|error| Error::io("create", path, error))?,
        None => open::existing(path, options)?,
    };
    let metadata = file.metadata().map_err(|error| Error::io("stat", path, error))?;
    let is_device = open::is_device(path, metadata.file_type())?;
    let file = match is_device && options.access != Access::Read {
        true => open::open(path, options.access, OFlags::EXCL)
            .map_err(|error| Error::io("open exclusively", path, error))?,
        false => file,
    };
    Ok((file, metadata, is_device))
}

/// Removes a file that was created for nothing, unless somebody else has it or put something in by now.
fn discard(path: &Path) {
    if let Ok(file) = open::open(path, Access::Write, OFlags::NOFOLLOW)
        && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        && file.metadata().is_ok_and(|metadata| metadata.len() == 0)
    {
        // What stays all the same is taken over by the next session.
        let _ = std::fs::remove_file(path);
    }
}

/// Whether a file is in the page cache, all but a little.
fn is_cached(file: &File, metadata: &Metadata) -> bool {
    let allocated = metadata.blocks().saturating_mul(512);
    allocated > 0
        && metadata.is_file()
        && cached_pages(file).is_some_and(|pages| {
            pages.saturating_mul(rustix::param::page_size() as u64) >= allocated / 8 * 7
        })
}

/// The unit of allocation of a filesystem that reports `fragment`. No filesystem has larger blocks
/// than 64 KiB: what network filesystems report beyond that is the size of a transfer.
pub(crate) fn allocation_unit(fragment: u64) -> u64 {
    match fragment.is_power_of_two() && fragment <= 64 << 10 {
        true => fragment.max(BLOCK),
        false => BLOCK,
    }
}
