//! Two layouts side by side.

use crate::error::Result;
use crate::extent::{Extent, Kind, Range};

/// One range with the kinds that two layouts give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Where.
    pub range: Range,
    /// The kind in the first layout.
    pub left: Kind,
    /// The kind in the second layout.
    pub right: Kind,
}

impl Pair {
    pub(crate) fn has_data(&self) -> bool {
        self.left == Kind::Data || self.right == Kind::Data
    }
}

/// Walks two gap-free layouts of the same range side by side; where one ends before the other, it
/// counts as a hole.
pub fn pairs<E>(
    left: impl Iterator<Item = Result<Extent, E>>,
    right: impl Iterator<Item = Result<Extent, E>>,
) -> impl Iterator<Item = Result<Pair, E>> {
    let (mut left, mut right) = (left.fuse(), right.fuse());
    let (mut a, mut b): (Option<Extent>, Option<Extent>) = (None, None);
    std::iter::from_fn(move || {
        if let Err(error) = fill(&mut a, &mut left).and_then(|()| fill(&mut b, &mut right)) {
            return Some(Err(error));
        }
        let end = match (a, b) {
            (Some(a), Some(b)) => a.range.end().min(b.range.end()),
            (Some(only), None) | (None, Some(only)) => only.range.end(),
            (None, None) => return None,
        };
        let range = a.or(b)?.range.split_at(end).0;
        let kind = |extent: Option<Extent>| extent.map_or(Kind::Hole, |extent| extent.kind);
        let pair = Pair { range, left: kind(a), right: kind(b) };
        for side in [&mut a, &mut b] {
            *side = side.and_then(|extent| {
                let range = extent.range.split_at(end).1;
                (!range.is_empty()).then_some(Extent { range, ..extent })
            });
        }
        Some(Ok(pair))
    })
}

/// Takes the next extent where there is none left.
fn fill<E>(
    side: &mut Option<Extent>,
    extents: &mut impl Iterator<Item = Result<Extent, E>>,
) -> Result<(), E> {
    if side.is_none() {
        *side = extents.next().transpose()?;
    }
    Ok(())
}

/// Joins neighbours with the same kinds.
pub(crate) fn joined(
    mut pairs: impl Iterator<Item = Result<Pair>>,
) -> impl Iterator<Item = Result<Pair>> {
    let mut run: Option<Pair> = None;
    std::iter::from_fn(move || {
        for pair in pairs.by_ref() {
            let pair = match pair {
                Ok(pair) => pair,
                Err(error) => return Some(Err(error)),
            };
            if let Some(run) = &mut run
                && (run.left, run.right) == (pair.left, pair.right)
                && run.range.end() == pair.range.start()
            {
                run.range = run.range.through(pair.range);
            } else if let Some(done) = run.replace(pair) {
                return Some(Ok(done));
            }
        }
        run.take().map(Ok)
    })
}
