//! The image behind the model: bytes, and which extent of the filesystem each block is in.

use lacuna_testing::pattern::{Block, Pattern};

const BLOCK: usize = 4096;

/// An image in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
    /// For each block the number of its extent, `None` for a hole.
    extents: Vec<Option<usize>>,
    /// How many extents there have been.
    numbers: usize,
}

impl Image {
    pub(crate) fn empty() -> Self {
        Self { bytes: vec![], extents: vec![], numbers: 0 }
    }

    /// Every run of blocks of one kind is an extent.
    pub(crate) fn of(pattern: &Pattern) -> Self {
        let kinds = pattern.kinds();
        let mut image = Self { bytes: pattern.bytes(), extents: vec![], numbers: 0 };
        for run in kinds.chunk_by(|a, b| a == b) {
            let is_hole = run[0] == Block::Hole.kind();
            image.numbers += 1;
            let extent = (!is_hole).then_some(image.numbers);
            image.extents.extend(vec![extent; run.len()]);
        }
        image
    }

    /// Bytes with one extent for each of these ranges.
    pub(crate) fn with_data(bytes: &[u8], data: &[(usize, usize)]) -> Self {
        let mut image = Self::empty();
        image.truncate(bytes.len());
        for &(start, end) in data {
            image.write(start, &bytes[start..end]);
        }
        image
    }

    pub(crate) fn allocated(&self) -> Vec<bool> {
        self.extents.iter().map(Option::is_some).collect()
    }

    pub(super) fn truncate(&mut self, size: usize) {
        self.bytes.resize(size, 0);
        self.extents.resize(size.div_ceil(BLOCK), None);
    }

    /// Makes the blocks it touches one extent, and the file longer if need be.
    pub(super) fn write(&mut self, begin: usize, body: &[u8]) {
        let end = begin + body.len();
        if body.is_empty() {
            return;
        }
        self.truncate(end.max(self.bytes.len()));
        self.bytes[begin..end].copy_from_slice(body);
        self.numbers += 1;
        self.extents[begin / BLOCK..end.div_ceil(BLOCK)].fill(Some(self.numbers));
    }

    pub(super) fn punch(&mut self, begin: usize, end: usize) {
        // To the end of the block at the end of the file.
        let whole = if end >= self.bytes.len() { self.extents.len() } else { end / BLOCK };
        if let Some(blocks) = self.extents.get_mut(begin.div_ceil(BLOCK)..whole) {
            blocks.fill(None);
        }
        let end = end.min(self.bytes.len());
        if let Some(bytes) = self.bytes.get_mut(begin..end) {
            bytes.fill(0);
        }
    }

    /// The bytes of a range, if one extent holds all of it.
    pub(super) fn data(&self, begin: usize, end: usize) -> Option<&[u8]> {
        let bytes = self.bytes.get(begin..end.min(self.bytes.len()))?;
        let blocks = &self.extents[begin / BLOCK..(begin + bytes.len()).div_ceil(BLOCK)];
        let first = *blocks.first()?;
        (first.is_some() && blocks.iter().all(|block| *block == first)).then_some(bytes)
    }
}
