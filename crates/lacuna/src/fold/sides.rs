//! The layouts of the two layers side by side.

use crate::error::Result;
use crate::extent::{Extent, Kind, Range};
use crate::image::Image;
use crate::layout::{Layout, LayoutOptions, LayoutOrigin, Pair, joined, pairs, rounded};
use crate::settle::compared;
use crate::source::Source;
use crate::target::Target;

/// Where the child has something.
pub(super) fn allocated(
    pairs: impl Iterator<Item = Result<Pair>>,
) -> impl Iterator<Item = Result<Pair>> {
    pairs.filter(|pair| !pair.as_ref().is_ok_and(|pair| pair.left == Kind::Hole))
}

/// What the child has in `range`, beside what the parent has.
pub(super) fn folded<'a>(
    child: &'a Source,
    parent: &'a Target,
    range: Range,
) -> Result<(LayoutOrigin, impl Iterator<Item = Result<Pair>> + 'a)> {
    let (origin, pairs) = compared(child, parent.image(), range)?;
    Ok((origin, joined(allocated(pairs).map(|pair| pair.map(unseen)))))
}

/// All of the child's data is written, without a look at what the parent has.
pub(super) fn unseen(pair: Pair) -> Pair {
    match pair.left {
        Kind::Data => Pair { right: Kind::Hole, ..pair },
        Kind::Zero | Kind::Hole => pair,
    }
}

/// Where the parent is to have no data, beside what it has: `extents` has `Data` where that is not
/// the question.
pub(super) fn kept<'a>(
    extents: impl Iterator<Item = Result<Extent>> + 'a,
    parent: &'a Image,
    range: Range,
) -> Result<impl Iterator<Item = Result<Pair>> + 'a> {
    let layout = Layout::new(parent, &LayoutOptions { range: Some(range), flush: true })?;
    let pairs = pairs(extents, rounded(layout, parent.allocation_unit()));
    Ok(pairs.filter(|pair| !pair.as_ref().is_ok_and(|pair| pair.left == Kind::Data)))
}
