//! A part of a fold that is done in parts: what is moved, and what must stay as it was around that.

use std::collections::VecDeque;

use super::plan;
use super::sides::{kept, unseen};
use crate::error::Result;
use crate::extent::{Extent, Kind, MAX_OFFSET, Range};
use crate::extent_size::in_units;
use crate::layout::{LayoutOrigin, Pair};
use crate::progress::Cancel;
use crate::settle::{compared, mend};
use crate::source::Source;
use crate::target::Target;

/// Ranges in one round, at most.
const RANGES: usize = 1 << 14;

/// What goes in one round into a parent whose filesystem allocates around it, at most.
const HINTED: u64 = 4 << 20;

/// The next of a child's ranges.
pub(super) struct Round {
    /// Of the parent's layout.
    pub(super) origin: LayoutOrigin,
    /// What is moved.
    pub(super) pairs: Vec<Pair>,
    around: Around,
}

impl Round {
    /// As much of `rest` as there is room for. `hint` is the parent's extent size.
    pub(super) fn next(child: &Source, parent: &Target, rest: Range, hint: u64) -> Result<Self> {
        let room = plan::round_bytes(parent.image())?;
        let mut room = if hint > 0 { room.min(HINTED) } else { room };
        let start = near(rest.split_at(rest.start()).0, hint).start();
        let walked = Range::new(start, rest.end()).unwrap_or(rest);
        let (origin, pairs) = compared(child, parent.image(), walked)?;
        let mut round = Self { origin, pairs: vec![], around: Around::new(hint, start) };
        let mut end = walked.end();
        for pair in pairs {
            let pair = pair?;
            if pair.range.start() >= end {
                break;
            }
            let wanted = pair.range.split_at(rest.start()).1;
            let range = wanted.split_at(wanted.start() + room).0;
            if pair.left == Kind::Hole || range.is_empty() {
                round.around.look_at(&pair);
                continue;
            }
            round.pairs.push(unseen(Pair { range, ..pair }));
            room = room.saturating_sub(round.around.moved(range));
            let is_cut = range.end() < wanted.end();
            if room == 0 || is_cut || round.pairs.len() == RANGES {
                room = 0;
                end = near(range, hint).end();
            }
        }
        Ok(round)
    }

    /// Punches what the filesystem has allocated around what was moved, cancelled or not: where the
    /// child has nothing, it hides what is below the parent.
    pub(super) fn settle_around(&self, parent: &Target) -> Result<()> {
        let extents = &self.around.extents;
        let (Some(first), Some(last)) = (extents.first(), extents.last()) else {
            return Ok(());
        };
        mend(parent, &Cancel::default(), || {
            let range = first.range.through(last.range);
            kept(extents.iter().copied().map(Ok), parent.image(), range)
        })
    }
}

/// Where the filesystem may allocate more than it is asked to when `range` is written: XFS shifts what
/// it has rounded by up to as much again, where something is in the way.
fn near(range: Range, hint: u64) -> Range {
    let start = range.start().saturating_sub(hint);
    let end = range.end().saturating_add(hint).min(MAX_OFFSET);
    in_units(Range::new(start, end).unwrap_or(range), hint)
}

/// The parent where the child has nothing, as far as the filesystem may allocate there what is not
/// asked for.
struct Around {
    hint: u64,
    /// Without gaps; `Data` where that is not the question.
    extents: Vec<Extent>,
    /// What is in question if something is moved right behind it.
    before: VecDeque<Extent>,
    /// Where what may be allocated by now ends.
    reached: u64,
    /// Where the units end that were written to.
    charged: u64,
}

impl Around {
    fn new(hint: u64, start: u64) -> Self {
        Self { hint, extents: vec![], before: VecDeque::new(), reached: start, charged: start }
    }

    /// Keeps what the parent has, where the child has nothing or moves nothing.
    fn look_at(&mut self, pair: &Pair) {
        if self.hint == 0 || pair.left != Kind::Hole {
            return;
        }
        let (behind, before) = pair.range.split_at(self.reached);
        self.push(Extent { range: behind, kind: pair.right });
        // What is moved next begins behind this pair.
        let end = Range::with_length(pair.range.end(), 0).unwrap_or(pair.range);
        let start = near(end, self.hint).start();
        self.before.retain(|extent| extent.range.end() > start);
        let before = before.split_at(start).1;
        if !before.is_empty() {
            self.before.push_back(Extent { range: before, kind: pair.right });
        }
    }

    /// Takes note of a range that is moved, and returns how much is allocated for it at most.
    fn moved(&mut self, range: Range) -> u64 {
        for extent in std::mem::take(&mut self.before) {
            self.push(extent);
        }
        if self.hint > 0 {
            self.push(Extent { range, kind: Kind::Data });
        }
        self.reached = near(range, self.hint).end();
        let units = in_units(range, self.hint);
        let new = units.split_at(self.charged).1;
        self.charged = units.end();
        new.len()
    }

    fn push(&mut self, extent: Extent) {
        if extent.range.is_empty() {
            return;
        }
        let end = self.extents.last().map_or(extent.range.start(), |last| last.range.end());
        if let Some(gap) = Range::new(end, extent.range.start()).filter(|gap| !gap.is_empty()) {
            self.extents.push(Extent { range: gap, kind: Kind::Data });
        }
        self.extents.push(extent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extent::BLOCK;

    fn block(number: u64) -> Range {
        Range::with_length(number * BLOCK, BLOCK).unwrap()
    }

    fn holes(around: &mut Around, blocks: std::ops::Range<u64>) {
        for number in blocks {
            let right = if number % 2 == 0 { Kind::Hole } else { Kind::Zero };
            around.look_at(&Pair { range: block(number), left: Kind::Hole, right });
        }
    }

    #[test]
    fn what_is_far_from_all_that_is_moved_is_not_kept() {
        let hint = 4 * BLOCK;
        let mut around = Around::new(hint, 0);
        holes(&mut around, 0..1002);
        assert_eq!(around.moved(block(1002)), hint);
        holes(&mut around, 1003..2000);
        assert_eq!(around.moved(block(2000)), hint);
        holes(&mut around, 2001..3000);
        let looked_at = around.extents.iter().filter(|extent| extent.kind != Kind::Data);
        let blocks: Vec<_> = looked_at.map(|extent| extent.range.start() / BLOCK).collect();
        let near = [996..1002, 1003..1008, 1996..2000, 2001..2008].into_iter().flatten();
        assert_eq!(blocks, near.collect::<Vec<_>>());
        let mut end = 996 * BLOCK;
        for extent in &around.extents {
            assert_eq!(extent.range.start(), end, "a gap");
            end = extent.range.end();
        }
    }

    #[test]
    fn what_shares_a_unit_is_counted_once() {
        let mut around = Around::new(4 * BLOCK, 0);
        let counted: Vec<_> = [1, 3, 4, 9, 11].map(|number| around.moved(block(number))).to_vec();
        assert_eq!(counted, [4, 0, 4, 4, 0].map(|blocks| blocks * BLOCK));
    }
}
