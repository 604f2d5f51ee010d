//! Doing one piece of work: read, compare, write, clear.

use std::ops;

use super::jobs::is_clonable;
use super::{Job, Transfer};
use crate::aligned_buf::AlignedBuf;
use crate::batch::BATCH_BYTES;
use crate::error::Result;
use crate::extent::{BLOCK, Kind, Range};
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
        transfer.source.image().read_at(part(&mut self.wanted, read, read), read.start())?;
        let compare = job.span(|pair| pair.left == Kind::Data && pair.right == Kind::Data);
        transfer
            .target
            .image()
            .read_at(part(&mut self.found, compare, compare), compare.start())?;
        for pair in job.ranges().iter().filter(|pair| pair.left == Kind::Data) {
            let wanted = part(&mut self.wanted, read, pair.range);
            transfer.progress.read_bytes.add(pair.range.len());
            if pair.right == Kind::Data {
                let found = part(&mut self.found, compare, pair.range);
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

    /// Shares the space of `range`, or copies it where that is refused after all and not asked for at
    /// all costs.
    fn clone(&mut self, range: Range) -> Result<()> {
        let transfer = self.transfer;
        let source = transfer.source.image();
        if transfer.target.clone_range(source, range)? {
            transfer.progress.reflinked_bytes.add(range.len());
            transfer.progress.done_bytes.add(range.len());
            return Ok(());
        }
        if transfer.options.reflink == Reflink::Always {
            return Err(reflink::refused(source, transfer.target.path()));
        }
        for piece in range.pieces(BATCH_BYTES) {
            transfer.check()?;
            let wanted = part(&mut self.wanted, piece, piece);
            transfer.source.image().read_at(wanted, piece.start())?;
            transfer.progress.read_bytes.add(piece.len());
            transfer.write(wanted, piece.start())?;
            transfer.progress.done_bytes.add(piece.len());
        }
        Ok(())
    }
}

/// The part of `buf`, which stands for `whole`, that stands for `range`.
fn part(buf: &mut [u8], whole: Range, range: Range) -> &mut [u8] {
    let start = (range.start() - whole.start()) as usize;
    &mut buf[start..start + range.len() as usize]
}

/// Runs of neighbouring blocks within `range` for which `differs` says so, given offsets from the
/// start of the range. `range` starts on a block.
fn runs(range: Range, differs: impl Fn(ops::Range<usize>) -> bool) -> Vec<ops::Range<usize>> {
    let mut runs: Vec<ops::Range<usize>> = vec![];
    for block in Range::to(range.len()).pieces(BLOCK) {
        let block = block.start() as usize..block.end() as usize;
        if !differs(block.clone()) {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.end == block.start => run.end = block.end,
            _ => runs.push(block),
        }
    }
    runs
}

impl Worker<'_> {
    /// Makes `range` of a device read as zeros, writing only where it does not.
    fn clear(&mut self, range: Range) -> Result<()> {
        let transfer = self.transfer;
        for piece in range.pieces(BATCH_BYTES) {
            transfer.check()?;
            let found = part(&mut self.found, piece, piece);
            transfer.target.image().read_at(found, piece.start())?;
            transfer.progress.compared_bytes.add(piece.len());
            for run in runs(piece, |block| found[block].iter().any(|byte| *byte != 0)) {
                let start = piece.start() + run.start as u64;
                let cleared = Range::with_length(start, run.len() as u64).unwrap_or(piece);
                transfer.target.punch(cleared)?;
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
        for run in runs(range, |block| wanted[block.clone()] != found[block]) {
            self.write(&wanted[run.clone()], range.start() + run.start as u64)?;
        }
        Ok(())
    }
}
