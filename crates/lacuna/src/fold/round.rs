//! A part of a fold that is done in parts: what is moved, and what must stay as it was around that.

use super::{kept, plan, unseen};
use crate::error::Result;
use crate::extent::{BLOCK, Extent, Kind, Range};
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
    /// The parent around that, without gaps, where the child has nothing; `Data` elsewhere. Empty where
    /// the filesystem does not allocate more than it is asked to.
    around: Vec<Extent>,
}

impl Round {
    /// As much of `rest` as there is room for. `hint` is the parent's extent size.
    pub(super) fn next(child: &Source, parent: &Target, rest: Range, hint: u64) -> Result<Self> {
        let unit = hint.max(1);
        let room = plan::round_bytes(parent.image())?;
        let mut room = if hint > 0 { room.min(HINTED) } else { room };
        // A hint need not be of whole blocks; a round is.
        let start = (rest.start() / unit * unit) & !(BLOCK - 1);
        let walked = Range::new(start, rest.end()).unwrap_or(rest);
        let (origin, pairs) = compared(child.image(), parent.image(), walked)?;
        let mut round = Self { origin, pairs: vec![], around: vec![] };
        let mut end = walked.end();
        for pair in pairs {
            let pair = pair?;
            if pair.range.start() >= end {
                break;
            }
            round.look_around(&pair, hint);
            let wanted = pair.range.split_at(rest.start()).1;
            let range = wanted.split_at(wanted.start() + room).0;
            if pair.left == Kind::Hole || range.is_empty() {
                continue;
            }
            round.pairs.push(unseen(Pair { range, ..pair }));
            room = room.saturating_sub(range.len().max(hint).next_multiple_of(BLOCK));
            if room == 0 || round.pairs.len() == RANGES {
                room = 0;
                end = range.end().next_multiple_of(unit).next_multiple_of(BLOCK);
            }
        }
        Ok(round)
    }

    fn look_around(&mut self, pair: &Pair, hint: u64) {
        let kind = if pair.left == Kind::Hole { pair.right } else { Kind::Data };
        if hint > 0 {
            self.around.push(Extent { range: pair.range, kind });
        }
    }

    /// Punches what the filesystem has allocated around what was moved, cancelled or not: where the
    /// child has nothing, it hides what is below the parent.
    pub(super) fn settle_around(&self, parent: &Target) -> Result<()> {
        let (Some(first), Some(last)) = (self.around.first(), self.around.last()) else {
            return Ok(());
        };
        let range = Range::new(first.range.start(), last.range.end()).unwrap_or(first.range);
        mend(parent, &Cancel::default(), || {
            kept(self.around.iter().copied().map(Ok), parent.image(), range)
        })
    }
}
