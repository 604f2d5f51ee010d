//! Ranges of bytes, their kinds, and the block.

use std::{fmt, ops};

/// The unit of alignment, of comparison and of change, in bytes.
pub const BLOCK: u64 = 4096;

/// The largest size and offset of a file: what fits the kernel's signed `loff_t`.
pub const MAX_OFFSET: u64 = i64::MAX as u64;

/// What stands behind a range of an image.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Not allocated: reads as zeros, and in a layer lets the parent show.
    Hole,
    /// Allocated, never written: reads as zeros, and in a layer hides the parent. FIEMAP's UNWRITTEN.
    Zero,
    /// Allocated and written, whatever the bytes are.
    Data,
}

impl Kind {
    /// Whether space is allocated for it, so that it hides a parent.
    pub fn is_allocated(self) -> bool {
        self != Self::Hole
    }
}

/// How many bytes there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct KindBytes {
    /// Allocated and written.
    pub data_bytes: u64,
    /// Allocated and unwritten.
    pub zero_bytes: u64,
    /// Not allocated.
    pub hole_bytes: u64,
}

impl KindBytes {
    /// Counts `bytes` more of `kind`.
    pub fn add(&mut self, kind: Kind, bytes: u64) {
        match kind {
            Kind::Data => self.data_bytes += bytes,
            Kind::Zero => self.zero_bytes += bytes,
            Kind::Hole => self.hole_bytes += bytes,
        }
    }

    /// Counts what another has counted.
    pub fn merge(&mut self, other: Self) {
        self.data_bytes += other.data_bytes;
        self.zero_bytes += other.zero_bytes;
        self.hole_bytes += other.hole_bytes;
    }

    /// What takes space.
    pub fn allocated_bytes(&self) -> u64 {
        self.data_bytes + self.zero_bytes
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Hole => "hole",
            Self::Zero => "zero",
            Self::Data => "data",
        })
    }
}

/// Bytes `start..end` of an image; `start <= end <= `[`MAX_OFFSET`], checked when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Range {
    start: u64,
    end: u64,
}

impl Range {
    /// `start..end`, or `None` when reversed or beyond [`MAX_OFFSET`].
    pub fn new(start: u64, end: u64) -> Option<Self> {
        (start <= end && end <= MAX_OFFSET).then_some(Self { start, end })
    }

    /// `length` bytes from `start`, or `None` when that overflows.
    pub fn with_length(start: u64, length: u64) -> Option<Self> {
        Self::new(start, start.checked_add(length)?)
    }

    /// No byte.
    pub(crate) const EMPTY: Self = Self { start: 0, end: 0 };

    /// `0..size`, cut at [`MAX_OFFSET`].
    pub fn to(size: u64) -> Self {
        Self { start: 0, end: size.min(MAX_OFFSET) }
    }

    /// The first byte.
    pub fn start(self) -> u64 {
        self.start
    }

    /// The byte after the last.
    pub fn end(self) -> u64 {
        self.end
    }

    /// Length in bytes.
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether it holds no byte.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The bytes that both have; empty, within `self`, when there are none.
    pub fn intersect(self, other: Self) -> Self {
        let start = other.start.clamp(self.start, self.end);
        Self { start, end: other.end.clamp(start, self.end) }
    }

    /// From its start to the end of `other`; itself, where that lies before its start.
    pub fn through(self, other: Self) -> Self {
        Self::new(self.start, other.end).unwrap_or(self)
    }

    /// What lies before `offset` and what lies from it on.
    pub fn split_at(self, offset: u64) -> (Self, Self) {
        let middle = offset.clamp(self.start, self.end);
        (Self { end: middle, ..self }, Self { start: middle, ..self })
    }

    /// Pieces of at most `length` bytes, in order. `length` 0 counts as 1.
    pub fn pieces(self, length: u64) -> impl Iterator<Item = Self> {
        let mut rest = self;
        std::iter::from_fn(move || {
            let (piece, after) = rest.split_at(rest.start.saturating_add(length.max(1)));
            rest = after;
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// Runs of neighbouring pieces of `unit` bytes about which `is` says the same, and what it says.
    pub fn runs(self, unit: u64, is: impl Fn(Self) -> bool) -> Vec<(Self, bool)> {
        let mut runs: Vec<(Self, bool)> = vec![];
        for piece in self.pieces(unit) {
            let found = is(piece);
            match runs.last_mut() {
                Some((run, said)) if *said == found => *run = run.through(piece),
                _ => runs.push((piece, found)),
            }
        }
        runs
    }

    /// Where its bytes are in a buffer of those of `whole`, which holds it.
    pub fn within(self, whole: Self) -> ops::Range<usize> {
        let start = (self.start - whole.start) as usize;
        start..start + self.len() as usize
    }

    /// Grown to multiples of `unit`, a power of two, at both ends; never past [`MAX_OFFSET`].
    pub fn round_out(self, unit: u64) -> Self {
        let start = self.start & !(unit - 1);
        let end = self.end.checked_next_multiple_of(unit).unwrap_or(MAX_OFFSET);
        Self { start, end: end.min(MAX_OFFSET) }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// A range of an image with its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Where.
    pub range: Range,
    /// What.
    pub kind: Kind,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> Range {
        Range::new(start, end).unwrap()
    }

    #[test]
    fn reversed_and_overflowing_ranges_do_not_exist() {
        assert_eq!(Range::new(2, 1), None);
        assert_eq!(Range::new(0, MAX_OFFSET + 1), None);
        assert_eq!(Range::with_length(u64::MAX, 2), None);
        assert_eq!(Range::with_length(MAX_OFFSET, 0), Range::new(MAX_OFFSET, MAX_OFFSET));
    }

    #[test]
    fn intersection_of_strangers_is_empty_and_inside() {
        assert_eq!(range(10, 20).intersect(range(30, 40)), range(20, 20));
        assert_eq!(range(30, 40).intersect(range(10, 20)), range(30, 30));
        assert_eq!(range(10, 20).intersect(range(15, 40)), range(15, 20));
    }

    #[test]
    fn through_runs_to_the_end_of_the_other_and_never_back() {
        assert_eq!(range(10, 20).through(range(30, 40)), range(10, 40));
        assert_eq!(range(10, 20).through(range(12, 15)), range(10, 15));
        assert_eq!(range(10, 20).through(range(0, 5)), range(10, 20));
    }

    #[test]
    fn runs_are_as_long_as_the_answer_stays() {
        let runs = range(5, 46).runs(10, |piece| matches!(piece.start(), 5 | 15 | 45));
        assert_eq!(runs, [(range(5, 25), true), (range(25, 45), false), (range(45, 46), true)]);
        assert_eq!(range(5, 5).runs(10, |_| true), []);
    }

    #[test]
    fn a_range_is_found_in_a_buffer_of_a_larger_one() {
        assert_eq!(range(15, 25).within(range(5, 26)), 10..20);
        assert_eq!(range(5, 26).within(range(5, 26)), 0..21);
    }

    #[test]
    fn pieces_cover_the_range_once() {
        let pieces: Vec<_> = range(5, 26).pieces(10).collect();
        assert_eq!(pieces, [range(5, 15), range(15, 25), range(25, 26)]);
        assert_eq!(range(5, 5).pieces(10).count(), 0);
        assert_eq!(range(0, 2).pieces(0).count(), 2);
    }

    #[test]
    fn rounding_out_stops_at_the_largest_offset() {
        assert_eq!(range(5, 4097).round_out(BLOCK), range(0, 8192));
        assert_eq!(range(1, MAX_OFFSET).round_out(BLOCK), range(0, MAX_OFFSET));
    }
}
