//! What an image has allocated, and its size: holes, unwritten ranges, growing and shrinking.

use std::io;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::Image;
use crate::blkdev;
use crate::error::{Error, Result};
use crate::extent::{BLOCK, Kind, MAX_OFFSET, Range};
use crate::failpoint;
use crate::layout::{Layout, LayoutOptions};
use crate::reflink;

/// Longest range that is punched or zeroed in one call, so that cancelling does not wait for long.
pub const LONGEST_CLEAR: u64 = 1 << 30;

impl Image {
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
        let block = Range::to(self.size).split_at(self.size & !(self.unit - 1)).1;
        let kind = self.kind_in(block)?;
        // btrfs writes zeros to a partial block when the file grows, even into a hole.
        let kept =
            if kind == Kind::Hole { block.start() } else { block.round_out(self.unit).end() };
        failpoint::pass("image.truncate")
            // First lets go of what is allocated past the end, so that it never comes into sight.
            .and_then(|()| self.file.set_len(size.min(self.size)))
            .and_then(|()| match kept < self.size && reflink::grow(self, kept, size) {
                true => Ok(()),
                false => self.file.set_len(size),
            })
            .map_err(|error| Error::io_at("resize", &self.path, size, error))?;
        self.size = size;
        let Some(gained) = Range::new(kept, size) else { return Ok(()) };
        match self.punch(gained) {
            // Where nothing can be punched, nothing can have been allocated past the end either.
            Err(error) if error.io_kind() == Some(io::ErrorKind::Unsupported) => return Ok(()),
            punched => punched?,
        }
        match kind == Kind::Zero && self.kind_in(block)? == Kind::Data {
            true => self.zero_range(block.round_out(self.unit)),
            false => Ok(()),
        }
    }

    /// The strongest kind in `range`.
    fn kind_in(&self, range: Range) -> Result<Kind> {
        if range.is_empty() {
            return Ok(Kind::Hole);
        }
        let options = LayoutOptions { range: Some(range), flush: true };
        Layout::new(self, &options)?
            .try_fold(Kind::Hole, |strongest, extent| Ok(strongest.max(extent?.kind)))
    }
}
