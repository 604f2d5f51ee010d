use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::extent::BLOCK;
use crate::layout::{Pair, pairs};

fn extent(start: u64, end: u64, kind: Kind) -> Extent {
    Extent { range: Range::new(start, end).unwrap(), kind }
}

fn ok(extents: Vec<Extent>) -> impl Iterator<Item = Result<Extent, Infallible>> {
    extents.into_iter().map(Ok)
}

fn gap_free(size: u64, extents: Vec<Extent>) -> Vec<Extent> {
    Merged::new(GapFree::new(Range::to(size), ok(extents))).map(|extent| extent.unwrap()).collect()
}

#[test]
fn an_empty_file_has_no_extent() {
    assert_eq!(gap_free(0, vec![]), []);
    assert_eq!(gap_free(0, vec![extent(0, 4096, Kind::Zero)]), []);
}

#[test]
fn a_file_of_holes_is_one_hole() {
    assert_eq!(gap_free(10_000, vec![]), [extent(0, 10_000, Kind::Hole)]);
}

#[test]
fn an_extent_across_the_end_is_cut_there_and_preallocation_after_it_left_out() {
    let raw = vec![extent(4096, 12_288, Kind::Data), extent(12_288, 1 << 20, Kind::Zero)];
    let expected = [extent(0, 4096, Kind::Hole), extent(4096, 10_000, Kind::Data)];
    assert_eq!(gap_free(10_000, raw), expected);
}

#[test]
fn neighbours_of_one_kind_are_one_extent() {
    let raw = vec![
        extent(0, 4096, Kind::Data),
        extent(4096, 8192, Kind::Data),
        extent(8192, 12_288, Kind::Zero),
        extent(12_288, 16_384, Kind::Zero),
    ];
    let expected = [extent(0, 8192, Kind::Data), extent(8192, 16_384, Kind::Zero)];
    assert_eq!(gap_free(16_384, raw), expected);
}

#[test]
fn extents_that_reach_back_count_from_where_the_walk_stands() {
    let raw = vec![
        extent(0, 8192, Kind::Data),
        extent(4096, 12_288, Kind::Zero),
        extent(0, 4096, Kind::Zero),
    ];
    let expected = [
        extent(0, 8192, Kind::Data),
        extent(8192, 12_288, Kind::Zero),
        extent(12_288, 16_384, Kind::Hole),
    ];
    assert_eq!(gap_free(16_384, raw), expected);
}

#[test]
fn ten_million_extents_stream_without_being_collected() {
    const COUNT: u64 = 10_000_000;
    let mut taken = 0_u64;
    let source = (0..COUNT).map(|n| {
        taken = n + 1;
        Ok::<_, Infallible>(extent(n * 8192, n * 8192 + 4096, Kind::Data))
    });
    let mut layout = Merged::new(GapFree::new(Range::to(COUNT * 8192), source));
    let mut seen = 0;
    while let Some(next) = layout.next() {
        next.unwrap();
        seen += 1;
        let held = layout.extents.held.is_some() as u64 + layout.current.is_some() as u64;
        assert!(held <= 2);
    }
    assert_eq!(seen, 2 * COUNT);
    assert_eq!(taken, COUNT);
}

#[test]
fn the_source_is_not_read_ahead() {
    let mut taken = 0_u64;
    let source = (0..1000_u64).map(|n| {
        taken = n + 1;
        Ok::<_, Infallible>(extent(n * 8192, n * 8192 + 4096, Kind::Data))
    });
    Merged::new(GapFree::new(Range::to(1000 * 8192), source)).next();
    assert!(taken <= 2, "{taken} extents were taken for one");
}

/// Kinds of every byte, the slow way.
fn bytes_of(size: u64, extents: &[Extent]) -> Vec<Kind> {
    let mut kinds = vec![Kind::Hole; size as usize];
    let mut passed = 0;
    for extent in extents {
        for at in extent.range.start().max(passed)..extent.range.end().min(size) {
            kinds[at as usize] = extent.kind;
        }
        passed = passed.max(extent.range.end());
    }
    kinds
}

fn raw_extents() -> impl Strategy<Value = Vec<Extent>> {
    prop::collection::vec((0_u64..40, 1_u64..40, any::<bool>()), 0..20).prop_map(|steps| {
        let mut at = 0;
        let mut extents = vec![];
        for (gap, length, zero) in steps {
            let kind = if zero { Kind::Zero } else { Kind::Data };
            extents.push(extent(at + gap, at + gap + length, kind));
            at += gap + length;
        }
        extents
    })
}

proptest! {
    #[test]
    fn a_layout_is_gap_free_merged_and_true(size in 0_u64..900, raw in raw_extents()) {
        let layout = gap_free(size, raw.clone());
        let mut at = 0;
        for (index, extent) in layout.iter().enumerate() {
            prop_assert_eq!(extent.range.start(), at);
            prop_assert!(!extent.range.is_empty());
            prop_assert!(index == 0 || layout[index - 1].kind != extent.kind);
            at = extent.range.end();
        }
        prop_assert_eq!(at, size);
        prop_assert_eq!(bytes_of(size, &layout), bytes_of(size, &raw));
    }

    #[test]
    fn rounding_gives_each_unit_its_strongest_kind(size in 0_u64..900, raw in raw_extents()) {
        let unit = 16_u64;
        let layout = gap_free(size, raw);
        let rounded: Vec<_> =
            rounded(ok(layout.clone()), unit).map(|extent| extent.unwrap()).collect();
        let mut expected = bytes_of(size, &layout);
        for unit in expected.chunks_mut(unit as usize) {
            let strongest = unit.iter().copied().max().unwrap();
            unit.fill(strongest);
        }
        prop_assert_eq!(bytes_of(size, &rounded), expected);
        prop_assert_eq!(rounded.last().map_or(0, |last| last.range.end()), size);
        prop_assert!(rounded.windows(2).all(|two| two[0].kind != two[1].kind));
    }

    #[test]
    fn pairs_are_what_both_layouts_say(
        sizes in (0_u64..900, 0_u64..900), a in raw_extents(), b in raw_extents(),
    ) {
        let (left, right) = (gap_free(sizes.0, a), gap_free(sizes.1, b));
        let size = sizes.0.max(sizes.1);
        let pairs: Vec<_> =
            pairs(ok(left.clone()), ok(right.clone())).map(|pair| pair.unwrap()).collect();
        let side = |pick: fn(&Pair) -> Kind| -> Vec<Extent> {
            pairs.iter().map(|pair| Extent { range: pair.range, kind: pick(pair) }).collect()
        };
        prop_assert_eq!(bytes_of(size, &side(|pair| pair.left)), bytes_of(size, &left));
        prop_assert_eq!(bytes_of(size, &side(|pair| pair.right)), bytes_of(size, &right));
        prop_assert_eq!(pairs.last().map_or(0, |pair| pair.range.end()), size);
    }

    #[test]
    fn rounding_to_blocks_leaves_aligned_layouts_alone(raw in raw_extents()) {
        let aligned: Vec<_> = raw
            .iter()
            .map(|e| extent(e.range.start() * BLOCK, e.range.end() * BLOCK, e.kind))
            .collect();
        let layout = gap_free(900 * BLOCK, aligned);
        let same: Vec<_> =
            rounded(ok(layout.clone()), BLOCK).map(|extent| extent.unwrap()).collect();
        prop_assert_eq!(same, layout);
    }
}
