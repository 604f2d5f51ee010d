//! Which ranges two files share on the disk, and so are equal without being read.

use std::io;

use crate::error::{Error, Result};
use crate::extent::Range;
use crate::fiemap::{ExtentFlags, MapFlags, MappedExtent, Walk};
use crate::image::Image;

/// Shorter ranges are read: asking costs as much.
pub(crate) const SHORTEST: u64 = 64 << 10;

/// With any of these, one physical address does not mean the same bytes. Two different halves of one
/// compressed extent of btrfs show the same address.
const NOT_COMPARABLE: ExtentFlags = ExtentFlags::UNKNOWN
    .union(ExtentFlags::DELALLOC)
    .union(ExtentFlags::ENCODED)
    .union(ExtentFlags::DATA_ENCRYPTED)
    .union(ExtentFlags::NOT_ALIGNED)
    .union(ExtentFlags::DATA_INLINE)
    .union(ExtentFlags::DATA_TAIL)
    .union(ExtentFlags::UNWRITTEN);

/// The parts of `range` that `a` and `b` may have in different places. Both layouts must come from
/// FIEMAP.
pub(crate) fn unshared(a: &Image, b: &Image, range: Range) -> Result<Vec<Range>> {
    let (left, right) = (a.stamp()?.id, b.stamp()?.id);
    if left == right {
        return Ok(vec![]);
    }
    if range.len() < SHORTEST || left.device != right.device {
        return Ok(vec![range]);
    }
    let walk = |image: &Image| -> Result<Vec<MappedExtent>> {
        let walk = Walk::new(image.file(), range, MapFlags::empty());
        let extents = walk.and_then(|walk| walk.collect::<io::Result<Vec<_>>>());
        extents.map_err(|error| Error::io("map", image.path(), error))
    };
    Ok(differing(range, &walk(a)?, &walk(b)?))
}

/// The parts of `range` in which the two lists of extents do not show the same place.
fn differing(range: Range, a: &[MappedExtent], b: &[MappedExtent]) -> Vec<Range> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let (mut found, mut reached) = (vec![], range.start());
    while let (Some(left), Some(right)) = (a.peek(), b.peek()) {
        let (left_end, right_end) = (end_of(left), end_of(right));
        if let Some(shared) = shared(left, right).map(|shared| range.intersect(shared))
            && !shared.is_empty()
        {
            let before = Range::new(reached, shared.start());
            found.extend(before.filter(|before| !before.is_empty()));
            reached = shared.end();
        }
        if left_end <= right_end {
            a.next();
        } else {
            b.next();
        }
    }
    let rest = Range::new(reached, range.end());
    found.extend(rest.filter(|rest| !rest.is_empty()));
    found
}

fn end_of(extent: &MappedExtent) -> u64 {
    extent.logical.saturating_add(extent.length)
}

/// The bytes that both extents have at one place.
///
/// One address alone proves nothing: an overlay shows files of two filesystems as those of one, and
/// XFS may keep files on a second disk. What is at one place is known to be shared, by both.
fn shared(a: &MappedExtent, b: &MappedExtent) -> Option<Range> {
    let place = |extent: &MappedExtent| extent.physical.wrapping_sub(extent.logical);
    let same = place(a) == place(b)
        && (a.flags & b.flags).contains(ExtentFlags::SHARED)
        && !(a.flags | b.flags).intersects(NOT_COMPARABLE);
    let start = a.logical.max(b.logical);
    Range::new(start, end_of(a).min(end_of(b))).filter(|_| same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(logical: u64, physical: u64, length: u64) -> MappedExtent {
        MappedExtent { logical, physical, length, flags: ExtentFlags::SHARED }
    }

    fn ranges(found: Vec<Range>) -> Vec<(u64, u64)> {
        found.into_iter().map(|range| (range.start(), range.end())).collect()
    }

    #[test]
    fn one_place_at_one_offset_is_shared_however_it_is_cut() {
        let whole = [mapped(0, 1000, 100)];
        let halves = [mapped(0, 1000, 40), mapped(40, 1040, 60)];
        assert!(differing(Range::to(100), &whole, &halves).is_empty());
        let one_moved = [mapped(0, 1000, 40), mapped(40, 5000, 60)];
        assert_eq!(ranges(differing(Range::to(100), &whole, &one_moved)), [(40, 100)]);
        let middle = Range::new(10, 30).unwrap();
        assert!(differing(middle, &whole, &one_moved).is_empty());
    }

    #[test]
    fn one_place_at_another_offset_is_not_shared() {
        let (a, b) = ([mapped(0, 1000, 100)], [mapped(50, 1000, 50)]);
        assert_eq!(ranges(differing(Range::to(100), &a, &b)), [(0, 100)]);
    }

    #[test]
    fn an_address_that_means_nothing_proves_nothing() {
        for flag in NOT_COMPARABLE.iter() {
            let a = [mapped(0, 1000, 100)];
            let b = [MappedExtent { flags: flag | ExtentFlags::SHARED, ..a[0] }];
            assert_eq!(ranges(differing(Range::to(100), &a, &b)), [(0, 100)], "{flag:?}");
        }
        assert_eq!(ranges(differing(Range::to(100), &[], &[])), [(0, 100)]);
    }

    #[test]
    fn an_address_that_only_one_of_them_calls_shared_is_on_another_disk() {
        let a = [mapped(0, 1000, 100)];
        let b = [MappedExtent { flags: ExtentFlags::empty(), ..a[0] }];
        assert!(differing(Range::to(100), &a, &a).is_empty());
        for (left, right) in [(&a, &b), (&b, &a), (&b, &b)] {
            assert_eq!(ranges(differing(Range::to(100), left, right)), [(0, 100)]);
        }
    }
}
