//! Making sure that what was to be a hole is one: filesystems allocate more than was asked for.

use lacuna::layout::{Layout, LayoutOptions, pairs, rounded};
use lacuna::{Error, Extent, Kind, Range, Result, Target};

/// Punches what is allocated within `holes`, which are in order; fails when it stays allocated.
/// Only whole units of allocation count: a smaller hole cannot be one.
pub(super) fn mend(target: &Target, holes: &[Range]) -> Result<()> {
    if target.image().is_device() {
        return Ok(());
    }
    let unit = target.image().allocation_unit();
    let size = target.image().size();
    let holes: Vec<_> = holes.iter().filter_map(|hole| whole_units(*hole, unit, size)).collect();
    let (Some(first), Some(last)) = (holes.first(), holes.last()) else { return Ok(()) };
    let Some(region) = Range::new(first.start(), last.end()) else { return Ok(()) };
    let mut mended = false;
    for range in allocated(target, region, &holes)? {
        target.punch(range?)?;
        mended = true;
    }
    if !mended {
        return Ok(());
    }
    target.image().sync()?;
    match allocated(target, region, &holes)?.next().transpose()? {
        None => Ok(()),
        Some(range) => Err(Error::KindsDiffer {
            path: target.path().to_owned(),
            range,
            expected: Kind::Hole,
            found: Kind::Data,
        }),
    }
}

/// The part of `hole` that consists of whole units; the last unit of the image is whole.
fn whole_units(hole: Range, unit: u64, size: u64) -> Option<Range> {
    let start = hole.start().checked_next_multiple_of(unit)?;
    let end = if hole.end() >= size { size } else { hole.end() & !(unit - 1) };
    Range::new(start, end).filter(|range| !range.is_empty())
}

/// What the layout shows as allocated within `holes`.
fn allocated<'a>(
    target: &'a Target,
    region: Range,
    holes: &'a [Range],
) -> Result<impl Iterator<Item = Result<Range>> + 'a> {
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
    Ok(pairs.filter_map(|pair| match pair {
        Ok(pair) if pair.left == Kind::Hole && pair.right != Kind::Hole => Some(Ok(pair.range)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    }))
}
