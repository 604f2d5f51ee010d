//! Packing small neighbouring ranges together, so that one read serves many of them.

use crate::extent::{Extent, Range};
use crate::layout::Pair;

/// The bytes that one batch spans, at most, when there is more than one range in it.
pub const BATCH_BYTES: u64 = 1 << 20;

/// Ranges that are further apart than this do not share a batch.
const GAP: u64 = 64 << 10;

/// Ranges in one batch, at most.
const RANGES: usize = 1024;

/// Something with a place in an image.
pub trait Ranged {
    /// The place.
    fn range(&self) -> Range;
}

impl Ranged for Extent {
    fn range(&self) -> Range {
        self.range
    }
}

impl Ranged for Pair {
    fn range(&self) -> Range {
        self.range
    }
}

/// A few ranges in order, near each other.
pub struct Batch<T>(Vec<T>);

impl<T: Ranged> Batch<T> {
    /// Nothing yet.
    pub fn new() -> Self {
        Self(vec![])
    }

    /// What is in it.
    pub fn ranges(&self) -> &[T] {
        &self.0
    }

    /// The same, without the batch.
    pub(crate) fn into_ranges(self) -> Vec<T> {
        self.0
    }

    /// Where the first range starts.
    pub fn start(&self) -> u64 {
        self.0.first().map_or(0, |first| first.range().start())
    }

    /// Where the last range ends.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |last| last.range().end())
    }

    /// Adds `next`, which lies after all that is in it; when there is no room, `next` begins a new
    /// batch and the full one is returned.
    #[must_use]
    pub fn push(&mut self, next: T) -> Option<Self> {
        let range = next.range();
        let fits = self.0.is_empty()
            || self.0.len() < RANGES
                && range.end() - self.start() <= BATCH_BYTES
                && range.start() - self.end() <= GAP;
        let full = (!fits).then(|| self.take());
        self.0.push(next);
        full
    }

    /// What is in it, leaving nothing.
    pub fn take(&mut self) -> Self {
        Self(std::mem::take(&mut self.0))
    }

    /// The smallest range that holds all that `select` picks; empty when it picks none.
    pub fn span(&self, select: impl Fn(&T) -> bool) -> Range {
        let mut picked = self.0.iter().filter(|item| select(item)).map(Ranged::range);
        let Some(first) = picked.next() else {
            return Range::to(0);
        };
        first.through(picked.next_back().unwrap_or(first))
    }
}

impl<T: Ranged> Default for Batch<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extent::Kind;

    fn data(start: u64, length: u64) -> Extent {
        Extent { range: Range::with_length(start, length).unwrap(), kind: Kind::Data }
    }

    #[test]
    fn small_neighbours_share_a_batch_and_far_ones_do_not() {
        let mut batch = Batch::new();
        assert!(batch.push(data(0, 4096)).is_none());
        assert!(batch.push(data(8192, 4096)).is_none());
        let full = batch.push(data(8192 + 4096 + GAP + 1, 4096)).unwrap();
        assert_eq!((full.ranges().len(), full.start(), full.end()), (2, 0, 12_288));
        assert_eq!(batch.ranges().len(), 1);
    }

    #[test]
    fn a_batch_spans_no_more_than_its_limit_unless_one_range_does() {
        let mut batch = Batch::new();
        assert!(batch.push(data(0, 3 * BATCH_BYTES)).is_none());
        assert!(batch.push(data(3 * BATCH_BYTES, 4096)).is_some());
        assert!(batch.push(data(3 * BATCH_BYTES + 4096, BATCH_BYTES)).is_some());
    }

    #[test]
    fn a_span_runs_from_the_first_to_the_last_that_is_picked() {
        let mut batch = Batch::new();
        for n in 0..5 {
            assert!(batch.push(data(n * 8192, 4096)).is_none());
        }
        let picked = batch.span(|extent| matches!(extent.range.start(), 8192 | 24_576));
        assert_eq!(picked, Range::new(8192, 28_672).unwrap());
        assert!(batch.span(|_| false).is_empty());
    }
}
