//! Comparing the target with the digests of the source.

use lacuna::chunk::{chaining_value, digest};
use lacuna::receipt::{CHUNK, Receipt};
use lacuna::{BLOCK, Extent, Kind, Range};
use lacuna_wire::{DIGEST, Kinds, Runs, Wanted};

use super::super::chunks::{Chunk, Chunks, Digests, add_kinds, extents_of, short};
use super::super::frames::BODY;
use super::super::parts::{GAP, span};
use super::Outcome;
use super::pending::Pending;
use super::writing::{Worker, allocated, covering, mask_of};
use crate::error::{Error, Result};

/// What came of a chunk.
enum Compared {
    /// It is the same, of this BLAKE3.
    Equal([u8; 32]),
    Lacking(Wanted),
}

/// Whole chunks, from that at `first` on, of an image of `size` bytes, with what is near it of `both`, and
/// not more than `most` bytes.
pub(super) fn window(first: Range, both: &[Range], size: u64, most: usize) -> Range {
    let from = both.partition_point(|range| range.end() <= first.start());
    let mut end = first.end();
    for range in &both[from..] {
        if range.start() > end + GAP {
            break;
        }
        end = end.max(range.end());
    }
    let end = end.next_multiple_of(CHUNK).min(first.start() + most as u64);
    Range::to(size).split_at(first.start()).1.split_at(end).0
}

impl Worker<'_> {
    /// A part of which the target may have something.
    pub(super) fn digests(&mut self, runs: &Runs, digests: &[u8]) -> Result<Outcome> {
        let receiving = self.receiving;
        let extents = extents_of(runs, receiving.size)?;
        let both = self.clear(&extents)?;
        let mut outcome = covering(runs);
        outcome.settled = allocated(&extents);
        let mut digests = Digests::new(digests);
        let mut window = Range::to(0);
        for chunk in Chunks::new(&extents, receiving.size).iter() {
            add_kinds(&mut outcome.kinds, &chunk);
            if chunk.data() == 0 {
                let content = self.hasher.hash(&chunk, &[]);
                outcome.receipt.add(chunk.index, chunk.kinds(), &content);
                continue;
            }
            let expected = digests.next()?;
            outcome.checked += 1;
            match self.compare(&chunk, &both, &mut window, expected)? {
                Compared::Equal(content) => {
                    outcome.receipt.add(chunk.index, chunk.kinds(), &content);
                }
                Compared::Lacking(wanted) => {
                    outcome.settled -= chunk.allocated();
                    outcome.wanted.push(wanted);
                }
            }
        }
        digests.finish()?;
        Ok(outcome)
    }

    /// Holds a chunk against its digest, given where the target has data as well and the `window` that
    /// was read last.
    fn compare(
        &mut self,
        chunk: &Chunk<'_>,
        both: &[Range],
        window: &mut Range,
        expected: &[u8],
    ) -> Result<Compared> {
        let (data, have) = (chunk.data(), mask_of(chunk.range, both));
        if have == 0 {
            return self.want(chunk, data, 0, &[]).map(Compared::Lacking);
        }
        if window.intersect(chunk.range) != chunk.range {
            *window = self.read(chunk.range, both)?;
            self.receiving.progress.compared_bytes.add(window.len());
        }
        let found = &self.found[chunk.range.within(*window)];
        let content = if have == data { Some(digest(found)) } else { None };
        match content.filter(|content| content[..DIGEST] == *expected) {
            Some(content) => Ok(Compared::Equal(content)),
            None => self.want(chunk, data & !have, have, found).map(Compared::Lacking),
        }
    }

    /// Reads from the chunk at `first` on what is near it of `both`, the ranges where the target has
    /// data, whole chunks: what is none there was cleared, and reads as zeros. Returns what was read.
    fn read(&mut self, first: Range, both: &[Range]) -> Result<Range> {
        let image = self.receiving.target.image();
        let window = window(first, both, self.receiving.size, image.read_size());
        image.read_at(&mut self.found[..window.len() as usize], first.start())?;
        self.receiving.link.works();
        Ok(window)
    }

    /// The receipt of `extents`, by what the medium has.
    pub(super) fn read_again(&mut self, extents: &[Extent]) -> Result<Receipt> {
        let (receiving, mut receipt) = (self.receiving, Receipt::default());
        let data = extents.iter().filter(|extent| extent.kind == Kind::Data);
        let data: Vec<Range> = data.map(|extent| extent.range).collect();
        let (mut window, mut rest) = (Range::to(0), span(extents));
        for chunk in Chunks::new(extents, receiving.size).iter() {
            receiving.cancel.check()?;
            if chunk.data() == 0 {
                receipt.add(chunk.index, chunk.kinds(), &self.hasher.hash(&chunk, &[]));
                continue;
            }
            let (empty, after) = rest.split_at(chunk.range.start());
            self.refuse_bytes(empty)?;
            rest = after.split_at(chunk.range.end()).1;
            if window.intersect(chunk.range) != chunk.range {
                window = self.read(chunk.range, &data)?;
            }
            let content = digest(&self.found[chunk.range.within(window)]);
            receipt.add(chunk.index, chunk.kinds(), &content);
        }
        self.refuse_bytes(rest)?;
        Ok(receipt)
    }

    /// Fails when a device has anything but zeros in `range`, chunks without data. Of a file, the layout
    /// tells that they read as zeros.
    fn refuse_bytes(&mut self, range: Range) -> Result<()> {
        let receiving = self.receiving;
        if receiving.kinds != Kinds::One {
            return Ok(());
        }
        for piece in range.pieces(BODY as u64) {
            receiving.cancel.check()?;
            let found = &mut self.found[..piece.len() as usize];
            receiving.target.image().read_at(found, piece.start())?;
            receiving.link.works();
            if found.iter().any(|byte| *byte != 0) {
                return Err(Error::ReceiptsDiffer);
            }
        }
        Ok(())
    }

    /// Asks for blocks of `chunk`, whose bytes in the target are `found` where it `have`s them.
    fn want(&self, chunk: &Chunk<'_>, missing: u16, have: u16, found: &[u8]) -> Result<Wanted> {
        // A chunk of one block is no tree.
        let (missing, differing) =
            if chunk.range.len() <= BLOCK { (missing | have, 0) } else { (missing, have) };
        let blocks = chunk.range.pieces(BLOCK).zip(0..);
        let values: Vec<[u8; 32]> = blocks
            .map(|(block, index)| match found.get(block.within(chunk.range)) {
                Some(bytes) => chaining_value(bytes, index),
                None => self.hasher.zero_value(block.len(), index),
            })
            .collect();
        let digests = values.iter().zip(0..).filter(|(_, index)| differing >> index & 1 == 1);
        let digests = digests.map(|(value, _)| short(value)).collect();
        let (kinds, allocated) = (chunk.kinds(), chunk.allocated());
        let pending = Pending { kinds, allocated, missing, differing, values };
        self.receiving.waiting.insert(chunk.index, pending)?;
        Ok(Wanted { chunk: chunk.index, missing, differing, digests })
    }
}
