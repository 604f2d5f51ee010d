//! One message of the source of a dry session: what would be done about it.

use lacuna::chunk::{chaining_value, digest};
use lacuna::layout::pairs;
use lacuna::{AlignedBuf, BLOCK, Extent, Kind, LayoutOptions, Range};
use lacuna_wire::{DIGEST, Dry, Message, Runs, Wanted};

use super::super::super::chunks::{BLOCKS, Chunks, Digests, extents_of, short};
use super::super::super::frames::{BODY, Payload};
use super::super::super::link::PanicGuard;
use super::super::super::parts::span;
use super::super::checking::window;
use super::super::writing::mask_of;
use super::{Looking, Seen};
use crate::error::{Error, Result};

/// A thread that looks at messages, with its buffer.
pub(super) struct Looker<'a> {
    looking: &'a Looking<'a>,
    found: AlignedBuf,
    /// Bytes that were read for the message at hand.
    compared: u64,
    _guard: PanicGuard,
}

impl<'a> Looker<'a> {
    pub(super) fn new(looking: &'a Looking<'a>) -> Self {
        let (found, _guard) = (AlignedBuf::new(BODY), looking.link.guard());
        Self { looking, found, compared: 0, _guard }
    }

    pub(super) fn take(&mut self, payload: &Payload) -> Result<Seen> {
        match (self.looking.dry, payload.message()?) {
            (Dry::Plan, Message::Layout(runs)) => self.layout(&runs),
            (Dry::Compare, Message::Digests { runs, digests }) => {
                self.compared = 0;
                let mut seen = self.digests(&runs, digests)?;
                seen.plan.compared_bytes = self.compared;
                Ok(seen)
            }
            (Dry::Compare, Message::Blocks { entries, bytes: [] }) => {
                Ok(Seen { answers: entries, ..Seen::default() })
            }
            _ => Err(Error::malformed("a message", "does not belong there")),
        }
    }

    fn layout(&mut self, runs: &Runs) -> Result<Seen> {
        let extents = extents_of(runs, self.looking.size)?;
        self.count(runs, &extents).map(|(seen, _)| seen)
    }

    /// Counts by the kinds of a part, and returns where both have data.
    fn count(&mut self, runs: &Runs, extents: &[Extent]) -> Result<(Seen, Vec<Range>)> {
        let looking = self.looking;
        let (mut seen, mut both) = (Seen::default(), vec![]);
        seen.covers = Some((runs.first(), runs.end()));
        let options = LayoutOptions { range: Some(span(extents)), flush: false };
        let found = looking.target.layout(options)?;
        for pair in pairs(extents.iter().copied().map(Ok), found) {
            let pair = pair?;
            looking.cancel.check()?;
            seen.plan.count(&pair, looking.target.origin(), None);
            match (pair.left, pair.right) {
                (Kind::Data, Kind::Data) => both.push(pair.range),
                (_, Kind::Data) if looking.target.is_device() && looking.dry == Dry::Compare => {
                    seen.spared.cleared += self.zeros(pair.range)?;
                }
                _ => {}
            }
        }
        Ok((seen, both))
    }

    /// Bytes of the blocks of `range` that are all zeros already.
    fn zeros(&mut self, range: Range) -> Result<u64> {
        let mut zeros = 0;
        for piece in range.pieces(BODY as u64) {
            self.looking.cancel.check()?;
            self.read(piece)?;
            let found = &self.found[..piece.len() as usize];
            let is_zero = |block: &Range| found[block.within(piece)].iter().all(|byte| *byte == 0);
            zeros += piece.pieces(BLOCK).filter(is_zero).map(Range::len).sum::<u64>();
        }
        Ok(zeros)
    }

    fn digests(&mut self, runs: &Runs, digests: &[u8]) -> Result<Seen> {
        let looking = self.looking;
        let extents = extents_of(runs, looking.size)?;
        let (mut seen, both) = self.count(runs, &extents)?;
        let mut digests = Digests::new(digests);
        let mut read = Range::to(0);
        for chunk in Chunks::new(&extents, looking.size).iter().filter(|chunk| chunk.data() != 0) {
            let expected = digests.next()?;
            seen.checked += 1;
            let (data, have) = (chunk.data(), mask_of(chunk.range, &both));
            if have != 0 && read.intersect(chunk.range) != chunk.range {
                read = window(chunk.range, &both, looking.size, BODY);
                self.read(read)?;
            }
            let found = self.content(chunk.range, read, have);
            if have == data && digest(found)[..DIGEST] == *expected {
                seen.spared.written += bytes_of(chunk.range, data);
                continue;
            }
            if chunk.range.start() < looking.content_end {
                // The source reads it again, to answer.
                seen.plan.read_bytes += chunk.range.len();
            }
            // A chunk of one block is no tree: it is known to differ.
            if have != 0 && chunk.range.len() > BLOCK {
                seen.wanted.push(ask(chunk.index, chunk.range, have, found));
            }
        }
        digests.finish()?;
        Ok(seen)
    }

    fn read(&mut self, range: Range) -> Result<()> {
        self.looking.target.read_at(&mut self.found[..range.len() as usize], range.start())?;
        self.looking.link.works();
        self.looking.progress.compared_bytes.add(range.len());
        self.compared += range.len();
        Ok(())
    }

    /// The bytes of `chunk` when all but the blocks that it shall `have` are cleared, of what was `read`.
    fn content(&mut self, chunk: Range, read: Range, have: u16) -> &[u8] {
        if have == 0 {
            return &[];
        }
        let found = &mut self.found[chunk.within(read)];
        for block in chunk.pieces(BLOCK).filter(|block| !has(have, *block)) {
            found[block.within(chunk)].fill(0);
        }
        found
    }
}

/// Asks which of the blocks that the target has in `chunk`, with these bytes, differ.
fn ask(index: u64, chunk: Range, have: u16, found: &[u8]) -> Wanted {
    let blocks = chunk.pieces(BLOCK).filter(|block| has(have, *block));
    let digests = blocks.map(|block| {
        short(&chaining_value(&found[block.within(chunk)], block.start() / BLOCK % BLOCKS))
    });
    Wanted { chunk: index, missing: 0, differing: have, digests: digests.collect() }
}

/// Bytes of the blocks of `chunk` that `mask` names.
pub(super) fn bytes_of(chunk: Range, mask: u16) -> u64 {
    chunk.pieces(BLOCK).filter(|block| has(mask, *block)).map(Range::len).sum()
}

fn has(mask: u16, block: Range) -> bool {
    mask >> (block.start() / BLOCK % BLOCKS) & 1 == 1
}
