//! An image: an open regular file or block device that holds a disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{
    Advice, FallocateFlags, FlockOperation, Mode, OFlags, SeekFrom, fadvise, fallocate, flock,
    fstatvfs, seek,
};
use rustix::io::Errno;

use crate::blkdev;
use crate::direct::DirectFile;
use crate::error::{Error, Result};
use crate::extent::{BLOCK, MAX_OFFSET, Range};
use crate::failpoint;
use crate::layout::{Layout, LayoutOptions};
use crate::open;
use crate::stamp::{FileId, Stamp};

/// What an image is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing. A device is opened exclusively: a mounted one is refused.
    Write,
}

/// Which way bytes take between an image and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoMode {
    /// The faster one for each request: large runs directly, small pieces through the page cache.
    /// Where the filesystem has no direct I/O, everything through the page cache.
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

/// From this length on, `Auto` reads and writes directly.
const DIRECT_FROM: usize = 64 << 10;

/// How long a lock on a device is tried for: udev takes it for a moment after every close.
const DEVICE_LOCK_PATIENCE: Duration = Duration::from_secs(2);

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
        let file = match options.create {
            Some(mode) => {
                open::create(path, mode).map_err(|error| Error::io("create", path, error))?
            }
            None => open::existing(path, options)?,
        };
        let metadata = file.metadata().map_err(|error| Error::io("stat", path, error))?;
        let is_device = open::is_device(path, metadata.file_type())?;
        let file = match is_device && options.access == Access::Write {
            true => open::open(path, options.access, OFlags::EXCL)
                .map_err(|error| Error::io("open exclusively", path, error))?,
            false => file,
        };
        let size = match is_device {
            true => seek(&file, SeekFrom::End(0))
                .map_err(|error| Error::io("find the size of", path, error))?,
            false => metadata.len(),
        };
        let direct = open::direct(path, options, FileId::from_metadata(&metadata))?;
        let fs =
            fstatvfs(&file).map_err(|error| Error::io("stat the filesystem of", path, error))?;
        Ok(Self {
            file,
            direct,
            io: options.io,
            path: path.to_owned(),
            access: options.access,
            is_device,
            size,
            unit: if fs.f_frsize.is_power_of_two() { fs.f_frsize.max(BLOCK) } else { BLOCK },
            mode: metadata.mode() & 0o7777,
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
    pub fn settled_stamp(&self) -> Result<Stamp> {
        let stamp = self.stamp()?;
        if !self.is_device {
            std::thread::sleep(stamp.time_to_settle());
        }
        self.stamp()
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

    /// Fills `buf` from `offset`; an error where the image ends before.
    ///
    /// # Errors
    ///
    /// The system's, with the offset; `UnexpectedEof` past the end.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        match self.direct_for(buf.len()) {
            Some(direct) => direct.read_at(buf, offset),
            None => self.file.read_exact_at(buf, offset),
        }
        .map_err(|error| Error::io_at("read", &self.path, offset, error))
    }

    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    ///
    /// The system's, with the offset. A part may have been written then.
    pub fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        failpoint::pass("image.write")
            .and_then(|()| match self.direct_for(buf.len()) {
                Some(direct) => self.write_direct(direct, buf, offset),
                None => self.file.write_all_at(buf, offset),
            })
            .map_err(|error| Error::io_at("write", &self.path, offset, error))
    }

    fn direct_for(&self, len: usize) -> Option<&DirectFile> {
        let direct = self.direct.as_ref();
        let direct = direct.filter(|_| self.io == IoMode::Direct || len >= DIRECT_FROM);
        if direct.is_none() {
            self.note_cache();
        }
        direct
    }

    fn note_cache(&self) {
        if !self.passed_cache.load(Ordering::Relaxed) {
            self.passed_cache.store(true, Ordering::Relaxed);
        }
    }

    /// Whole units directly; what is left at either end through the cache, whole pages at a time
    /// being the kernel's business then.
    fn write_direct(&self, direct: &DirectFile, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            let written = match direct.write_units(buf, offset) {
                Ok(0) => {
                    let piece = direct.to_next_unit(offset).min(buf.len());
                    self.note_cache();
                    self.file.write_all_at(&buf[..piece], offset)?;
                    piece
                }
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            buf = &buf[written..];
            offset += written as u64;
        }
        Ok(())
    }

    /// Makes `range` a hole; on a device, zeros. The size stays.
    ///
    /// # Errors
    ///
    /// The system's, with the offset.
    pub fn punch(&self, range: Range) -> Result<()> {
        if self.is_device && !(range.start() | range.end()).is_multiple_of(BLOCK) {
            return self.punch_pieces(range);
        }
        let Some(range) = self.rounded_at_end(range) else {
            return Ok(());
        };
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        failpoint::pass("image.punch")
            .and_then(|()| match fallocate(&self.file, flags, range.start(), range.len()) {
                Err(Errno::OPNOTSUPP) if self.is_device => blkdev::zero_out(&self.file, range),
                result => Ok(result?),
            })
            .map_err(|error| Error::io_at("punch a hole in", &self.path, range.start(), error))
    }

    /// A device punches whole sectors only: zeros are written over what is less than a block.
    fn punch_pieces(&self, range: Range) -> Result<()> {
        let zeros = [0; BLOCK as usize];
        let (head, rest) = range.split_at(range.start().next_multiple_of(BLOCK));
        let (middle, tail) = rest.split_at(rest.end() & !(BLOCK - 1));
        for edge in [head, tail].into_iter().filter(|edge| !edge.is_empty()) {
            self.write_at(&zeros[..edge.len() as usize], edge.start())?;
        }
        if middle.is_empty() { Ok(()) } else { self.punch(middle) }
    }

    /// Makes `range` allocated and unwritten. The size stays. `Unsupported` where the filesystem
    /// cannot, as on tmpfs.
    pub fn zero_range(&self, range: Range) -> Result<()> {
        let Some(range) = self.rounded_at_end(range) else {
            return Ok(());
        };
        let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        failpoint::pass("image.zero")
            .and_then(|()| Ok(fallocate(&self.file, flags, range.start(), range.len())?))
            .map_err(|error| Error::io_at("zero a range of", &self.path, range.start(), error))
    }

    /// Allocates what is not allocated of `range`, as unwritten extents. The size stays.
    pub fn allocate(&self, range: Range) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        failpoint::pass("image.allocate")
            .and_then(|()| {
                Ok(fallocate(&self.file, FallocateFlags::KEEP_SIZE, range.start(), range.len())?)
            })
            .map_err(|error| Error::io_at("allocate space in", &self.path, range.start(), error))
    }

    /// A range that reaches the end, rounded up to the filesystem's block: the kernel leaves the
    /// last partial block allocated otherwise. `None` when there is nothing to do.
    fn rounded_at_end(&self, range: Range) -> Option<Range> {
        if range.is_empty() {
            return None;
        }
        if self.is_device || range.end() < self.size {
            return Some(range);
        }
        Range::new(range.start(), range.round_out(self.unit).end())
    }

    /// Sets the size. What a growing file gains is a hole, even where the filesystem had allocated
    /// space past the old end.
    ///
    /// # Errors
    ///
    /// The system's; `FileTooLarge` beyond [`MAX_OFFSET`].
    pub fn truncate(&mut self, size: u64) -> Result<()> {
        if size > MAX_OFFSET {
            return Err(self.error("resize", io::Error::from(io::ErrorKind::FileTooLarge)));
        }
        let kept = self.end_of_last_block()?;
        failpoint::pass("image.truncate")
            .and_then(|()| self.file.set_len(size))
            .map_err(|error| Error::io_at("resize", &self.path, size, error))?;
        self.size = size;
        let Some(gained) = Range::new(kept, size) else { return Ok(()) };
        match self.punch(gained) {
            // Where nothing can be punched, nothing can have been allocated past the end either.
            Err(error) if error.io_kind() == Some(io::ErrorKind::Unsupported) => Ok(()),
            punched => punched,
        }
    }

    /// Where the last block ends, or where it starts when it is partial and a hole: btrfs writes
    /// zeros there when the file grows.
    fn end_of_last_block(&self) -> Result<u64> {
        let block = Range::to(self.size).split_at(self.size & !(self.unit - 1)).1;
        let options = LayoutOptions { range: Some(block), flush: false };
        for extent in Layout::new(self, &options)? {
            if extent?.kind.is_allocated() {
                return Ok(block.round_out(self.unit).end());
            }
        }
        Ok(block.start())
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

    /// In [`IoMode::Auto`], lets go of the page cache if anything went through it, so that an image
    /// that passed through does not push out what others use. Only advice: nothing is lost when the
    /// kernel does not follow it.
    pub fn drop_cache(&self) {
        if self.io == IoMode::Auto && self.passed_cache.load(Ordering::Relaxed) {
            self.forget_cache();
        }
    }

    /// Lets go of the page cache, so that what is read next comes from the medium: what a session
    /// that failed left may be in memory only, though it counts as written.
    pub(crate) fn forget_cache(&self) {
        if let Err(errno) = fadvise(&self.file, 0, None, Advice::DontNeed) {
            tracing::debug!(path = %self.path.display(), %errno, "page cache kept");
        }
    }

    /// Sets the permission bits.
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))
            .map_err(|errno| self.error("set the permissions of", errno))
    }

    /// Locks the image, shared when it was opened for reading and exclusively for writing, at once
    /// or not at all. Afterwards the name still leads to this file, and its size is what it was.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when another holds it, [`Error::Replaced`] or [`Error::Changed`] when the file is
    /// no longer the one that was opened.
    pub fn lock(&self) -> Result<()> {
        let operation = match self.access {
            Access::Read => FlockOperation::NonBlockingLockShared,
            Access::Write => FlockOperation::NonBlockingLockExclusive,
        };
        let begun = Instant::now();
        while let Err(errno) = flock(&self.file, operation) {
            match errno {
                Errno::INTR => {}
                Errno::WOULDBLOCK if self.is_device && begun.elapsed() < DEVICE_LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Errno::WOULDBLOCK => {
                    return Err(Error::Busy { path: self.path.clone() });
                }
                errno => return Err(self.error("lock", errno)),
            }
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

    fn error(&self, operation: &'static str, error: impl Into<io::Error>) -> Error {
        Error::io(operation, &self.path, error)
    }
}

/// The lock goes with the image, even while a process that is being started has it open too.
impl Drop for Image {
    fn drop(&mut self) {
        // What was not locked cannot be unlocked, and what cannot be unlocked goes with the file.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}
