//! One message of the source: what is to be cleared, compared, written.

use std::sync::atomic::Ordering;

use lacuna::chunk::{chaining_value, digest, root};
use lacuna::layout::{pairs, rounded};
use lacuna::{AlignedBuf, BLOCK, Extent, Kind, LONGEST_CLEAR, Layout, LayoutOptions, Range};
use lacuna_wire::{Answered, Kinds, Message, Runs};

use super::super::chunks::{BLOCKS, ChunkHasher, Chunks, add_kinds, chunk_range, extents_of};
use super::super::frames::{BODY, Payload};
use super::super::link::PanicGuard;
use super::super::parts::span;
use super::pending::Pending;
use super::{Outcome, Receiving};
use crate::error::{Error, Result};

/// A thread that works on messages, with its buffers.
pub(super) struct Worker<'a> {
    pub(super) receiving: &'a Receiving<'a>,
    pub(super) found: AlignedBuf,
    pub(super) hasher: ChunkHasher,
    _guard: PanicGuard,
}

impl<'a> Worker<'a> {
    pub(super) fn new(receiving: &'a Receiving<'a>) -> Self {
        let (found, hasher) = (AlignedBuf::new(BODY), ChunkHasher::new());
        Self { receiving, found, hasher, _guard: receiving.link.guard() }
    }

    pub(super) fn take(&mut self, payload: &Payload) -> Result<Outcome> {
        match payload.message()? {
            Message::Data { runs, bytes } if !self.has_content(&runs) => self.data(&runs, bytes),
            Message::Digests { runs, digests } if self.has_content(&runs) => {
                self.digests(&runs, digests)
            }
            Message::Blocks { entries, bytes } => self.blocks(&entries, bytes),
            _ => Err(Error::malformed("a message", "does not belong there")),
        }
    }

    /// Whether a part lies where the target may have something.
    fn has_content(&self, runs: &Runs) -> bool {
        let end = self.receiving.content_end.load(Ordering::Acquire);
        runs.first().saturating_mul(BLOCK) < end
    }

    /// A part of which the target has nothing.
    fn data(&mut self, runs: &Runs, bytes: &[u8]) -> Result<Outcome> {
        let receiving = self.receiving;
        let extents = extents_of(runs, receiving.size)?;
        let mut outcome = covering(runs);
        outcome.settled = allocated(&extents);
        let (mut rest, target) = (bytes, receiving.target);
        for Extent { range, kind } in &extents {
            match kind {
                Kind::Data => {
                    let (wanted, after) = rest
                        .split_at_checked(range.len() as usize)
                        .ok_or_else(|| Error::malformed("a Data", "ends early"))?;
                    target.write_at(wanted, range.start())?;
                    receiving.link.works();
                    receiving.progress.written_bytes.add(range.len());
                    rest = after;
                }
                Kind::Zero if receiving.kinds == Kinds::Three => target.zero_range(*range)?,
                Kind::Zero | Kind::Hole => {}
            }
        }
        if !rest.is_empty() {
            return Err(Error::malformed("a Data", "has more bytes than its runs"));
        }
        for chunk in Chunks::new(&extents, receiving.size).iter() {
            let content = self.hasher.hash(&chunk, bytes);
            outcome.receipt.add(chunk.index, chunk.kinds(), &content);
            add_kinds(&mut outcome.kinds, &chunk);
        }
        Ok(outcome)
    }

    /// Makes the kinds of the target those of `extents`, as far as they are no data, and returns where
    /// the target has data as well.
    pub(super) fn clear(&mut self, extents: &[Extent]) -> Result<Vec<Range>> {
        let receiving = self.receiving;
        let options = LayoutOptions { range: Some(span(extents)), flush: false };
        let found = rounded(Layout::new(receiving.target.image(), &options)?, BLOCK);
        let mut both = vec![];
        for pair in pairs(extents.iter().copied().map(Ok), found) {
            let pair = pair?;
            receiving.cancel.check()?;
            match (pair.left, pair.right) {
                (Kind::Data, Kind::Data) => both.push(pair.range),
                (Kind::Data, _) => {}
                (_, Kind::Data) if receiving.kinds == Kinds::One => self.wipe(pair.range)?,
                _ if receiving.kinds == Kinds::One => {}
                (Kind::Hole, Kind::Hole) | (Kind::Zero, Kind::Zero) => {}
                (kind, _) => self.empty(pair.range, kind)?,
            }
        }
        Ok(both)
    }

    /// Makes `range` of a `kind` that is no data, in pieces between which the session can end.
    fn empty(&self, range: Range, kind: Kind) -> Result<()> {
        let Receiving { target, cancel, link, .. } = self.receiving;
        for piece in range.pieces(LONGEST_CLEAR) {
            cancel.check()?;
            link.check()?;
            match kind {
                Kind::Zero => target.zero_range(piece)?,
                Kind::Hole | Kind::Data => target.punch(piece)?,
            }
            link.works();
        }
        Ok(())
    }

    /// Makes `range` read as zeros, writing only where it does not.
    fn wipe(&mut self, range: Range) -> Result<()> {
        let receiving = self.receiving;
        for piece in range.pieces(BODY as u64) {
            receiving.cancel.check()?;
            let found = &mut self.found[..piece.len() as usize];
            receiving.target.image().read_at(found, piece.start())?;
            receiving.link.works();
            receiving.progress.compared_bytes.add(piece.len());
            let has_bytes = |block: Range| found[block.within(piece)].iter().any(|byte| *byte != 0);
            for (run, has_bytes) in piece.runs(BLOCK, has_bytes) {
                if has_bytes {
                    receiving.target.punch(run)?;
                }
            }
        }
        Ok(())
    }

    /// The blocks that were wanted.
    fn blocks(&mut self, entries: &[Answered], bytes: &[u8]) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut rest = bytes;
        for entry in entries {
            let pending = self.receiving.waiting.get(entry.chunk, entry.blocks);
            let pending = pending
                .ok_or_else(|| Error::malformed("Blocks", "are not those that were wanted"))?;
            let kinds = pending.kinds;
            outcome.settled += pending.allocated;
            let content = self.fill(entry, pending, &mut rest)?;
            outcome.receipt.add(entry.chunk, kinds, &content);
            self.receiving.waiting.remove(entry.chunk);
        }
        match rest.is_empty() {
            true => Ok(outcome),
            false => Err(Error::malformed("Blocks", "have more bytes than they say")),
        }
    }

    /// Writes the blocks of one chunk, and returns the BLAKE3 of all of it.
    fn fill(&self, entry: &Answered, mut pending: Pending, rest: &mut &[u8]) -> Result<[u8; 32]> {
        let receiving = self.receiving;
        let chunk = chunk_range(entry.chunk, Range::to(receiving.size));
        let is_sent = |block: Range| entry.blocks >> (block.start() / BLOCK % BLOCKS) & 1 == 1;
        for (run, sent) in chunk.runs(BLOCK, is_sent) {
            if !sent {
                continue;
            }
            let (wanted, after) = rest
                .split_at_checked(run.len() as usize)
                .ok_or_else(|| Error::malformed("Blocks", "end early"))?;
            receiving.target.write_at(wanted, run.start())?;
            receiving.link.works();
            receiving.progress.written_bytes.add(run.len());
            *rest = after;
            if run == chunk {
                return Ok(digest(wanted));
            }
            for block in run.pieces(BLOCK) {
                let index = block.start() / BLOCK % BLOCKS;
                let value = chaining_value(&wanted[block.within(run)], index);
                pending.values[index as usize] = value;
            }
        }
        root(&pending.values).ok_or_else(|| Error::malformed("Blocks", "leave out what is missing"))
    }
}

/// What covers the same as `runs`.
pub(super) fn covering(runs: &Runs) -> Outcome {
    Outcome { covers: Some((runs.first(), runs.end())), ..Outcome::default() }
}

/// Bytes of `extents` that are data or zero.
pub(super) fn allocated(extents: &[Extent]) -> u64 {
    let allocated = extents.iter().filter(|extent| extent.kind.is_allocated());
    allocated.map(|extent| extent.range.len()).sum()
}

/// A mask of the blocks of `chunk` that lie in `ranges`, which are in order.
pub(super) fn mask_of(chunk: Range, ranges: &[Range]) -> u16 {
    let from = ranges.partition_point(|range| range.end() <= chunk.start());
    let within = ranges[from..].iter().map(|range| range.intersect(chunk));
    let blocks = within.take_while(|range| !range.is_empty()).flat_map(|range| range.pieces(BLOCK));
    blocks.fold(0, |mask, block| mask | 1 << ((block.start() - chunk.start()) / BLOCK))
}
