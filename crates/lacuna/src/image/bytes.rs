//! Reading and writing, directly or through the page cache.

use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use rustix::fs::{Advice, fadvise};

use super::Image;
use crate::direct::DirectFile;
use crate::error::{Error, Result};
use crate::extent::Range;
use crate::failpoint;
use crate::open::IoMode;

/// From this length on, `Auto` reads and writes directly.
const DIRECT_FROM: usize = 64 << 10;

impl Image {
    /// Fills `buf` from `offset`; an error where the image ends before.
    ///
    /// # Errors
    ///
    /// The system's, with the offset; `UnexpectedEof` past the end.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let direct = if self.is_cached { None } else { self.direct_for(buf.len()) };
        failpoint::pass("image.read")
            .and_then(|()| match direct {
                Some(direct) => direct.read_at(buf, offset),
                None => self.file.read_exact_at(buf, offset),
            })
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

    /// In [`IoMode::Auto`], lets go of the page cache if anything went through it, so that an image
    /// that passed through does not push out what others use. Only advice: nothing is lost when the
    /// kernel does not follow it.
    pub fn drop_cache(&self) {
        self.forget(Range::to(self.size));
    }

    /// The same of `range` alone.
    pub(crate) fn forget(&self, range: Range) {
        let passed = self.io == IoMode::Auto && self.passed_cache.load(Ordering::Relaxed);
        if passed && !self.is_cached {
            self.advise(range);
        }
    }

    /// Lets go of the page cache, so that what is read next comes from the medium: what a session
    /// that failed left may be in memory only, though it counts as written.
    pub fn forget_cache(&self) {
        self.advise(Range::to(self.size));
    }

    fn advise(&self, range: Range) {
        // To the end, when there is no length.
        let length = NonZeroU64::new(range.len()).filter(|_| range.end() < self.size);
        if let Err(errno) = fadvise(&self.file, range.start(), length, Advice::DontNeed) {
            tracing::debug!(path = %self.path.display(), %errno, "page cache kept");
        }
    }
}
