//! Layouts, and what they are made from, on real filesystems.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use lacuna::{BLOCK, Extent, Image, Kind, Layout, LayoutOptions, LayoutOrigin, Range, seek_hole};
use lacuna_testing::mount::{Fs, LoopDevice, Mount};
use lacuna_testing::pattern::{self, Block, Pattern, kinds_of};
use proptest::prelude::*;
use rustix::fs::{FallocateFlags, fallocate};

use crate::{for_all, mount_with, mounts, open_for_reading, range};

fn kind(kind: pattern::Kind) -> Kind {
    match kind {
        pattern::Kind::Data => Kind::Data,
        pattern::Kind::Zero => Kind::Zero,
        pattern::Kind::Hole => Kind::Hole,
    }
}

/// The extents that blocks of these kinds make within `part`.
fn extents_of(kinds: &[pattern::Kind], part: Range) -> Vec<Extent> {
    let mut at = 0;
    let runs = kinds.chunk_by(|a, b| a == b).map(|run| {
        let start = at;
        at += run.len() as u64 * BLOCK;
        let range = part.intersect(range(start, at));
        Extent { range, kind: kind(run[0]) }
    });
    runs.filter(|extent| !extent.range.is_empty()).collect()
}

#[track_caller]
fn layout_of(image: &Image, options: LayoutOptions) -> Vec<Extent> {
    let layout = Layout::new(image, &options).expect("start a layout");
    layout.map(|extent| extent.expect("walk a layout")).collect()
}

#[track_caller]
fn assert_layout_is_right(path: &Path) {
    let image = open_for_reading(path);
    let whole = Range::to(image.size());
    let expected = extents_of(&kinds_of(path), whole);
    assert_eq!(layout_of(&image, LayoutOptions::default()), expected);
}

/// Random patterns, laid out as a whole and in part, by FIEMAP or by `SEEK_DATA`.
fn compare_with_oracle(mount: Option<Mount>, origin: LayoutOrigin) {
    let Some(mount) = mount else { return };
    let path = mount.path().join("image");
    let part = (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    for_all(24, (pattern::strategy(200), part), |(pattern, (from, to))| {
        pattern.write(&path);
        assert_layout_is_right(&path);
        let image = open_for_reading(&path);
        // A part may lie past the end.
        let ends = [from, to].map(|at| at.index(pattern.size as usize * 5 / 4 + 1) as u64);
        let part = range(ends[0].min(ends[1]), ends[0].max(ends[1]));
        let options = LayoutOptions { range: Some(part), flush: true };
        assert_eq!(Layout::new(&image, &options).unwrap().origin(), origin);
        let kinds = kinds_of(&path);
        let inside = Range::to(pattern.size).intersect(part);
        assert_eq!(layout_of(&image, options), extents_of(&kinds, inside));
        assert_data_is_found(&path, &kinds, inside);
    });
}

/// `SEEK_DATA` finds what is `Data` and nothing else.
#[track_caller]
fn assert_data_is_found(path: &Path, kinds: &[pattern::Kind], part: Range) {
    let file = File::open(path).unwrap();
    let walk = seek_hole::Walk::new(&file, part);
    let found: Vec<_> = walk.map(|range| range.expect("seek")).collect();
    let data = extents_of(kinds, part).into_iter();
    let data = data.filter(|extent| extent.kind == Kind::Data);
    let data: Vec<_> = data.map(|extent| extent.range).collect();
    assert_eq!(found, data);
}

#[test]
fn a_layout_is_what_ext4_has() {
    compare_with_oracle(Mount::new(Fs::Ext4), LayoutOrigin::Fiemap);
}

#[test]
fn a_layout_is_what_xfs_has() {
    compare_with_oracle(Mount::new(Fs::Xfs), LayoutOrigin::Fiemap);
}

#[test]
fn a_layout_is_what_btrfs_has() {
    compare_with_oracle(Mount::new(Fs::Btrfs), LayoutOrigin::Fiemap);
}

#[test]
fn a_layout_is_what_tmpfs_has() {
    compare_with_oracle(Mount::new(Fs::Tmpfs), LayoutOrigin::SeekHole);
}

#[test]
fn a_layout_is_what_ext4_with_small_blocks_has() {
    compare_with_oracle(mount_with(Fs::Ext4, &["-b", "1024"]), LayoutOrigin::Fiemap);
}

#[test]
fn a_device_is_all_data() {
    let Some(device) = LoopDevice::new(1 << 20) else {
        return;
    };
    let image = open_for_reading(device.path());
    let layout = Layout::new(&image, &LayoutOptions::default()).unwrap();
    assert_eq!(layout.origin(), LayoutOrigin::Device);
    let data = |range| Extent { range, kind: Kind::Data };
    let extents: Vec<_> = layout.map(Result::unwrap).collect();
    assert_eq!(extents, [data(range(0, 1 << 20))]);
    let options = LayoutOptions { range: Some(range(1000, 2 << 20)), flush: true };
    assert_eq!(layout_of(&image, options), [data(range(1000, 1 << 20))]);
}

#[test]
fn images_of_one_kind_or_none_are_laid_out() {
    for mount in mounts() {
        let path = mount.path().join("image");
        for size in [0, 1, 4096, 10_000, 300_000] {
            for block in [Block::Hole, Block::Zero, Block::Data(0), Block::Data(1)] {
                let blocks = vec![block; u64::div_ceil(size, BLOCK) as usize];
                Pattern { blocks, size }.write(&path);
                assert_layout_is_right(&path);
            }
        }
    }
}

#[test]
fn preallocation_behind_the_end_is_not_part_of_an_image() {
    for mount in mounts() {
        let path = mount.path().join("image");
        for last in [Block::Hole, Block::Data(3)] {
            let pattern =
                Pattern { blocks: vec![Block::Data(1), Block::Hole, last], size: 2 * BLOCK + 100 };
            pattern.write(&path);
            let file = File::options().write(true).open(&path).unwrap();
            fallocate(&file, FallocateFlags::KEEP_SIZE, 3 * BLOCK, 1 << 20).unwrap();
            file.sync_all().unwrap();
            assert_layout_is_right(&path);
            // It is there all the same.
            assert!(open_for_reading(&path).allocated_bytes().unwrap() >= 1 << 20);
        }
    }
}

#[test]
fn more_extents_than_one_request_asks_for() {
    for mount in mounts() {
        let path = mount.path().join("image");
        let kinds = [Block::Data(1), Block::Hole, Block::Data(2), Block::Zero];
        let pattern = Pattern::whole(kinds.into_iter().cycle().take(10_000).collect());
        pattern.write(&path);
        let image = open_for_reading(&path);
        let whole = Range::to(image.size());
        let expected = extents_of(&kinds_of(&path), whole);
        assert!(expected.len() >= 10_000 - 5000 * usize::from(!mount.fs().has_zero()));
        // Not assert_eq, which would print all of it.
        assert!(layout_of(&image, LayoutOptions::default()) == expected);
    }
}

#[test]
fn a_dirty_page_over_an_unwritten_extent_is_data_once_flushed() {
    for mount in mounts() {
        let path = mount.path().join("image");
        Pattern::whole(vec![Block::Zero; 16]).write(&path);
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[1; 4096], 5 * BLOCK).unwrap();
        let image = open_for_reading(&path);
        let layout = layout_of(&image, LayoutOptions::default());
        let at = layout.iter().find(|extent| extent.range.end() > 5 * BLOCK);
        assert_eq!(at.map(|extent| extent.kind), Some(Kind::Data), "{}", mount.fs());
        assert_layout_is_right(&path);
    }
}

#[test]
fn what_was_just_written_counts_as_allocated_even_unflushed() {
    for mount in mounts() {
        let path = mount.path().join("image");
        Pattern::whole(vec![Block::Hole; 64]).write(&path);
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[1; 8192], 9 * BLOCK).unwrap();
        let image = open_for_reading(&path);
        let options = LayoutOptions { range: Some(range(9 * BLOCK, 11 * BLOCK)), flush: false };
        let allocated = layout_of(&image, options);
        assert!(allocated.iter().all(|extent| extent.kind.is_allocated()));
    }
}

#[test]
fn the_largest_file_of_all_is_one_hole() {
    for fs in [Fs::Xfs, Fs::Btrfs, Fs::Tmpfs] {
        let Some(mount) = Mount::new(fs) else { continue };
        let path = mount.path().join("image");
        // The last whole block that an offset can name.
        let size = lacuna::MAX_OFFSET & !(BLOCK - 1);
        File::create(&path).unwrap().set_len(size).unwrap();
        let image = open_for_reading(&path);
        let hole = Extent { range: range(0, size), kind: Kind::Hole };
        assert_eq!(layout_of(&image, LayoutOptions::default()), [hole], "{fs}");
    }
}
