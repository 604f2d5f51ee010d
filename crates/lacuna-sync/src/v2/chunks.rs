//! The chunks of a part of an image: kinds, content, digests.

use std::slice::ChunksExact;

use lacuna::chunk::{chaining_value, digest};
use lacuna::receipt::{CHUNK, ChunkKinds, Receipt};
use lacuna::{BLOCK, Extent, Kind, Range};
use lacuna_wire::{DIGEST, Run, Runs};

use crate::error::{Error, Result};

/// Blocks in a chunk.
pub(super) const BLOCKS: u64 = CHUNK / BLOCK;

/// Chunks that are not all hole, in one message, at most.
pub(super) const CHUNKS_MAX: u64 = 8192;

/// A chunk that is not all hole.
pub(super) struct Chunk<'a> {
    pub(super) index: u64,
    pub(super) range: Range,
    /// Its extents, without the holes.
    pieces: &'a [Piece],
}

/// An allocated extent or a part of it, within one chunk.
#[derive(Clone, Copy)]
struct Piece {
    extent: Extent,
    /// Where its bytes stand among those of the part, when it is data.
    at: usize,
}

impl Chunk<'_> {
    pub(super) fn kinds(&self) -> ChunkKinds {
        let mut kinds = ChunkKinds::default();
        for (block, kind) in self.blocks() {
            kinds.set(block, kind);
        }
        kinds
    }

    /// Which of its blocks are data.
    pub(super) fn data(&self) -> u16 {
        let data = self.blocks().filter(|(_, kind)| *kind == Kind::Data);
        data.fold(0, |mask, (block, _)| mask | 1 << block)
    }

    /// Bytes that are data or zero.
    pub(super) fn allocated(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.extent.range.len()).sum()
    }

    fn blocks(&self) -> impl Iterator<Item = (u32, Kind)> {
        self.pieces.iter().flat_map(|piece| {
            let blocks = piece.extent.range.pieces(BLOCK);
            blocks.map(|block| ((block.start() / BLOCK % BLOCKS) as u32, piece.extent.kind))
        })
    }

    /// Its bytes, given those of the data of the part: zeros where it is not data.
    pub(super) fn content<'a>(&self, packed: &'a [u8], scratch: &'a mut [u8]) -> &'a [u8] {
        if let [Piece { extent, at }] = *self.pieces
            && extent.kind == Kind::Data
            && extent.range == self.range
        {
            return &packed[at..at + self.range.len() as usize];
        }
        let content = &mut scratch[..self.range.len() as usize];
        content.fill(0);
        for piece in self.pieces.iter().filter(|piece| piece.extent.kind == Kind::Data) {
            let within = piece.extent.range.within(self.range);
            let length = within.len();
            content[within].copy_from_slice(&packed[piece.at..piece.at + length]);
        }
        content
    }
}

/// The chunks of `extents`, a part of an image of `size` bytes, that are not all hole.
pub(super) struct Chunks {
    pieces: Vec<Piece>,
    whole: Range,
}

impl Chunks {
    pub(super) fn new(extents: &[Extent], size: u64) -> Self {
        let (mut pieces, mut at) = (vec![], 0);
        for extent in extents.iter().filter(|extent| extent.kind.is_allocated()) {
            let mut rest = extent.range;
            while !rest.is_empty() {
                let (range, after) = rest.split_at((rest.start() / CHUNK + 1) * CHUNK);
                pieces.push(Piece { extent: Extent { range, ..*extent }, at });
                at += if extent.kind == Kind::Data { range.len() as usize } else { 0 };
                rest = after;
            }
        }
        Self { pieces, whole: Range::to(size) }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Chunk<'_>> {
        let index = |piece: &Piece| piece.extent.range.start() / CHUNK;
        self.pieces.chunk_by(move |a, b| index(a) == index(b)).map(move |pieces| {
            let index = index(&pieces[0]);
            Chunk { index, range: chunk_range(index, self.whole), pieces }
        })
    }
}

/// Where the chunk `index` lies in `whole`, the range of the image.
pub(super) fn chunk_range(index: u64, whole: Range) -> Range {
    let start = index.saturating_mul(CHUNK);
    whole.split_at(start).1.split_at(start.saturating_add(CHUNK)).0
}

/// The sum over kinds alone, of which it does not matter what they hold.
pub(super) fn add_kinds(sum: &mut Receipt, chunk: &Chunk<'_>) {
    sum.add(chunk.index, chunk.kinds(), &[0; 32]);
}

/// What is sent of a digest or a chaining value.
pub(super) fn short(value: &[u8; 32]) -> [u8; DIGEST] {
    let mut short = [0; DIGEST];
    short.copy_from_slice(&value[..DIGEST]);
    short
}

/// The digests of a message, one after the other.
pub(super) struct Digests<'a>(ChunksExact<'a, u8>);

impl<'a> Digests<'a> {
    pub(super) fn new(digests: &'a [u8]) -> Self {
        Self(digests.chunks_exact(DIGEST))
    }

    pub(super) fn next(&mut self) -> Result<&'a [u8]> {
        self.0.next().ok_or_else(|| Error::malformed("Digests", "are fewer than the chunks"))
    }

    /// # Errors
    ///
    /// When there are more.
    pub(super) fn finish(mut self) -> Result<()> {
        match self.0.next().is_none() && self.0.remainder().is_empty() {
            true => Ok(()),
            false => Err(Error::malformed("Digests", "are more than the chunks")),
        }
    }
}

/// BLAKE3 of the bytes of chunks.
pub(super) struct ChunkHasher {
    scratch: Vec<u8>,
    zeros: [u8; 32],
    /// The chaining values of blocks of zeros.
    values: Vec<[u8; 32]>,
}

impl ChunkHasher {
    pub(super) fn new() -> Self {
        let scratch = vec![0; CHUNK as usize];
        let zeros = digest(&scratch);
        let block = &scratch[..BLOCK as usize];
        let values = (0..BLOCKS).map(|index| chaining_value(block, index)).collect();
        Self { scratch, zeros, values }
    }

    /// The chaining value of a block of `len` zeros.
    pub(super) fn zero_value(&self, len: u64, index: u64) -> [u8; 32] {
        match len == BLOCK {
            true => self.values[index as usize],
            false => chaining_value(&vec![0; len as usize], index),
        }
    }

    pub(super) fn hash(&mut self, chunk: &Chunk<'_>, packed: &[u8]) -> [u8; 32] {
        match chunk.data() == 0 && chunk.range.len() == CHUNK {
            true => self.zeros,
            false => digest(chunk.content(packed, &mut self.scratch)),
        }
    }
}

/// The runs of `extents`, neighbours that begin at a block and end at one or at the end of the image.
pub(super) fn runs_of(extents: &[Extent]) -> Result<Runs> {
    let first = extents.first().map_or(0, |first| first.range.start() / BLOCK);
    let mut runs = Runs::new(first);
    for Extent { range, kind } in extents {
        let kind = match kind {
            Kind::Hole => lacuna_wire::Kind::Hole,
            Kind::Zero => lacuna_wire::Kind::Zero,
            Kind::Data => lacuna_wire::Kind::Data,
        };
        let blocks = range.len().div_ceil(BLOCK);
        runs.push(Run { kind, blocks }).map_err(Error::Wire)?;
    }
    Ok(runs)
}

/// The extents of `runs`, a part of an image of `size` bytes.
///
/// # Errors
///
/// When they are no whole chunks, or lie outside of it.
pub(super) fn extents_of(runs: &Runs, size: u64) -> Result<Vec<Extent>> {
    let malformed = |reason| Error::malformed("runs", reason);
    let end = runs.end().saturating_mul(BLOCK);
    if !runs.first().is_multiple_of(BLOCKS)
        || !(runs.end().is_multiple_of(BLOCKS) || end >= size)
        || end >= size.saturating_add(BLOCK)
    {
        return Err(malformed("are no whole chunks of the image"));
    }
    if allocated_chunks(runs) > CHUNKS_MAX {
        return Err(malformed("are of too many chunks"));
    }
    let mut rest = Range::to(size).split_at(runs.first().saturating_mul(BLOCK)).1;
    let mut extents = Vec::with_capacity(runs.runs().len());
    for run in runs.runs() {
        let kind = match run.kind {
            lacuna_wire::Kind::Hole => Kind::Hole,
            lacuna_wire::Kind::Zero => Kind::Zero,
            lacuna_wire::Kind::Data => Kind::Data,
        };
        let (range, after) = rest.split_at(rest.start().saturating_add(run.blocks * BLOCK));
        if range.is_empty() {
            return Err(malformed("lie outside of the image"));
        }
        extents.push(Extent { range, kind });
        rest = after;
    }
    Ok(extents)
}

/// How many chunks are not all hole.
fn allocated_chunks(runs: &Runs) -> u64 {
    let (mut at, mut behind, mut count) = (runs.first(), 0, 0);
    for run in runs.runs() {
        let end = at + run.blocks;
        if run.kind != lacuna_wire::Kind::Hole {
            let first = (at / BLOCKS).max(behind);
            behind = end.div_ceil(BLOCKS);
            count += behind - first;
        }
        at = end;
    }
    count
}
