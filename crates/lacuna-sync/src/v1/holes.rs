//! Making sure that what was to be a hole is one: filesystems allocate more than was asked for.

use lacuna::layout::{Layout, LayoutOptions, Pair, pairs, rounded};
use lacuna::{Cancel, Extent, Kind, Range, Result, Target, settle};

/// Punches what is allocated within `holes`, which are in order; fails when it stays allocated.
/// Only whole units of allocation count: a smaller hole cannot be one.
pub(super) fn mend(target: &Target, holes: &[Range]) -> Result<()> {
    let (unit, size) = (target.image().allocation_unit(), target.image().size());
    let holes: Vec<_> = holes.iter().filter_map(|hole| whole_units(*hole, unit, size)).collect();
    let (Some(first), Some(last)) = (holes.first(), holes.last()) else { return Ok(()) };
    let Some(region) = Range::new(first.start(), last.end()) else { return Ok(()) };
    settle::mend(target, &Cancel::default(), || allocated(target, region, &holes))
}

/// The part of `hole` that consists of whole units; the last unit of the image is whole.
fn whole_units(hole: Range, unit: u64, size: u64) -> Option<Range> {
    let start = hole.start().checked_next_multiple_of(unit)?;
    let end = if hole.end() >= size { size } else { hole.end() & !(unit - 1) };
    Range::new(start, end).filter(|range| !range.is_empty())
}

/// What the layout shows as allocated within `holes`, which are wanted.
fn allocated<'a>(
    target: &'a Target,
    region: Range,
    holes: &'a [Range],
) -> Result<impl Iterator<Item = Result<Pair>> + 'a> {
    let options = LayoutOptions { range: Some(region), flush: true };
    let layout = Layout::new(target.image(), &options)?;
    let mut reached = region.start();
    let wanted = holes.iter().flat_map(move |hole| {
        let before = Range::new(reached, hole.start());
        reached = hole.end();
        let data = before.filter(|before| !before.is_empty());
        let data = data.map(|range| Ok(Extent { range, kind: Kind::Data }));
        data.into_iter().chain([Ok(Extent { range: *hole, kind: Kind::Hole })])
    });
    let pairs = pairs(wanted, rounded(layout, target.image().allocation_unit()));
    Ok(pairs.filter(|pair| {
        let is_right = |pair: &Pair| pair.left == pair.right || pair.left != Kind::Hole;
        !pair.as_ref().is_ok_and(is_right)
    }))
}
