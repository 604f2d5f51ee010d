//! Doing one piece of work: read, compare, write, clear.

use super::jobs::is_clonable;
use super::{Job, Transfer};
use crate::aligned_buf::AlignedBuf;
use crate::batch::BATCH_BYTES;
use crate::error::Result;
use crate::extent::{BLOCK, Kind, Range};
use crate::image::Image;
use crate::layout::LayoutOrigin;
use crate::reflink::{self, Reflink};

/// A thread of a transfer, with its buffers.
pub(super) struct Worker<'a> {
    transfer: &'a Transfer<'a>,
    origin: LayoutOrigin,
    wanted: AlignedBuf,
    found: AlignedBuf,
}

impl<'a> Worker<'a> {
    pub(super) fn new(transfer: &'a Transfer<'a>, origin: LayoutOrigin) -> Self {
        let buf = || AlignedBuf::new(BATCH_BYTES as usize);
        Self { transfer, origin, wanted: buf(), found: buf() }
    }

    /// Makes the target have what `job` wants.
    pub(super) fn run(&mut self, job: &Job) -> Result<()> {
        match job.ranges() {
            [pair] if self.transfer.clones && is_clonable(pair) => self.clone(pair.range)?,
            _ => self.bring(job)?,
        }
        self.transfer.source.watch()?;
        self.transfer.checkpoint_if_due()
    }

    fn bring(&mut self, job: &Job) -> Result<()> {
        let transfer = self.transfer;
        let read = job.span(|pair| pair.left == Kind::Data);
        let wanted = &mut self.wanted[..read.len() as usize];
        transfer.source.read_at(wanted, read.start())?;
        let compare = job.span(|pair| pair.left == Kind::Data && pair.right == Kind::Data);
        let found = &mut self.found[..compare.len() as usize];
        transfer.target.image().read_at(found, compare.start())?;
        for pair in job.ranges().iter().filter(|pair| pair.left == Kind::Data) {
            let wanted = &self.wanted[pair.range.within(read)];
            transfer.progress.read_bytes.add(pair.range.len());
            if pair.right == Kind::Data {
                let found = &self.found[pair.range.within(compare)];
                transfer.write_changes(pair.range, wanted, found)?;
            } else {
                transfer.write(wanted, pair.range.start())?;
            }
            transfer.progress.done_bytes.add(pair.range.len());
        }
        // Clearing a device takes the buffer that the comparison has just used.
        for pair in job.ranges() {
            match pair.left {
                Kind::Data => {}
                _ if self.origin == LayoutOrigin::Device => self.clear(pair.range)?,
                Kind::Zero => {
                    transfer.target.zero_range(pair.range)?;
                    transfer.progress.done_bytes.add(pair.range.len());
                }
                Kind::Hole => transfer.target.punch(pair.range)?,
            }
        }
        Ok(())
    }

    /// Shares the space of `range`, wherever a layer has enough of it to be worth that.
    fn clone(&mut self, range: Range) -> Result<()> {
        for owned in self.transfer.source.owned(range) {
            let owned = owned?;
            match owned.owner.filter(|_| owned.range.len() >= reflink::SHORTEST) {
                Some(owner) => self.clone_from(owner, owned.range)?,
                None => self.copy(owned.range)?,
            }
        }
        Ok(())
    }

    /// Shares the space of `range`, or copies it where that is refused after all and not asked for at
    /// all costs.
    fn clone_from(&mut self, owner: &Image, range: Range) -> Result<()> {
        let transfer = self.transfer;
        if transfer.target.clone_range(owner, range)? {
            transfer.progress.reflinked_bytes.add(range.len());
            transfer.progress.done_bytes.add(range.len());
            return Ok(());
        }
        match transfer.options.reflink {
            Reflink::Always => Err(reflink::refused(owner.path(), transfer.target.path())),
            _ => self.copy(range),
        }
    }

    fn copy(&mut self, range: Range) -> Result<()> {
        let transfer = self.transfer;
        for piece in range.pieces(BATCH_BYTES) {
            transfer.check()?;
            let wanted = &mut self.wanted[..piece.len() as usize];
            transfer.source.read_at(wanted, piece.start())?;
            transfer.progress.read_bytes.add(piece.len());
            transfer.write(wanted, piece.start())?;
            transfer.progress.done_bytes.add(piece.len());
        }
        Ok(())
    }

    /// Makes `range` of a device read as zeros, writing only where it does not.
    fn clear(&mut self, range: Range) -> Result<()> {
        let transfer = self.transfer;
        for piece in range.pieces(BATCH_BYTES) {
            transfer.check()?;
            let found = &mut self.found[..piece.len() as usize];
            transfer.target.image().read_at(found, piece.start())?;
            transfer.progress.compared_bytes.add(piece.len());
            let has_bytes = |block: Range| found[block.within(piece)].iter().any(|byte| *byte != 0);
            for (run, written) in piece.runs(BLOCK, has_bytes) {
                if written {
                    transfer.target.punch(run)?;
                }
            }
        }
        Ok(())
    }
}

impl Transfer<'_> {
    fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.target.write_at(bytes, offset)?;
        self.progress.written_bytes.add(bytes.len() as u64);
        Ok(())
    }

    /// Writes the blocks of `range` in which `wanted` differs from `found`.
    fn write_changes(&self, range: Range, wanted: &[u8], found: &[u8]) -> Result<()> {
        self.progress.compared_bytes.add(range.len());
        if wanted == found {
            return Ok(());
        }
        let differs = |block: Range| wanted[block.within(range)] != found[block.within(range)];
        for (run, changed) in range.runs(BLOCK, differs) {
            if changed {
                self.write(&wanted[run.within(range)], run.start())?;
            }
        }
        Ok(())
    }
}
