//! Doing one piece of work: read, compare, write, clear.

use std::ops;

use super::{Job, Session};
use crate::aligned_buf::AlignedBuf;
use crate::batch::BATCH_BYTES;
use crate::error::Result;
use crate::extent::{BLOCK, Kind, Range};
use crate::layout::LayoutOrigin;

/// A thread of a copy, with its buffers.
pub(super) struct Worker<'a> {
    session: &'a Session<'a>,
    origin: LayoutOrigin,
    wanted: AlignedBuf,
    found: AlignedBuf,
}

impl<'a> Worker<'a> {
    pub(super) fn new(session: &'a Session<'a>, origin: LayoutOrigin) -> Self {
        let buf = || AlignedBuf::new(BATCH_BYTES as usize);
        Self { session, origin, wanted: buf(), found: buf() }
    }

    /// Makes the target have what `job` wants.
    pub(super) fn run(&mut self, job: &Job) -> Result<()> {
        let session = self.session;
        let read = job.span(|pair| pair.left == Kind::Data);
        session.source.image().read_at(part(&mut self.wanted, read, read), read.start())?;
        let compare = job.span(|pair| pair.left == Kind::Data && pair.right == Kind::Data);
        session.target.image().read_at(part(&mut self.found, compare, compare), compare.start())?;
        for pair in job.ranges().iter().filter(|pair| pair.left == Kind::Data) {
            let wanted = part(&mut self.wanted, read, pair.range);
            session.progress.read_bytes.add(pair.range.len());
            if pair.right == Kind::Data {
                let found = part(&mut self.found, compare, pair.range);
                session.write_changes(pair.range, wanted, found)?;
            } else {
                session.write(wanted, pair.range.start())?;
            }
            session.progress.done_bytes.add(pair.range.len());
        }
        // Clearing a device takes the buffer that the comparison has just used.
        for pair in job.ranges() {
            match pair.left {
                Kind::Data => {}
                _ if self.origin == LayoutOrigin::Device => self.clear(pair.range)?,
                Kind::Zero => {
                    session.target.zero_range(pair.range)?;
                    session.progress.done_bytes.add(pair.range.len());
                }
                Kind::Hole => session.target.punch(pair.range)?,
            }
        }
        session.source.watch()?;
        session.checkpoint_if_due()
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
        let session = self.session;
        for piece in range.pieces(BATCH_BYTES) {
            session.check()?;
            let found = part(&mut self.found, piece, piece);
            session.target.image().read_at(found, piece.start())?;
            session.progress.compared_bytes.add(piece.len());
            for run in runs(piece, |block| found[block].iter().any(|byte| *byte != 0)) {
                let start = piece.start() + run.start as u64;
                let cleared = Range::with_length(start, run.len() as u64).unwrap_or(piece);
                session.target.punch(cleared)?;
            }
        }
        Ok(())
    }
}

impl Session<'_> {
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
