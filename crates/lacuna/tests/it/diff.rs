//! Where two images differ, against what reading both block by block tells.

mod expected;
mod sharing;
mod trouble;

use std::path::{Path, PathBuf};

use lacuna::diff::{DiffOptions, DiffStats, Difference};
use lacuna::{BLOCK, Cancel, ImageOptions, IoMode, Kind, MAX_OFFSET, Progress, Result, Source};
use lacuna_testing::mount::{Fs, LoopDevice, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Pattern, pair_strategy};
use proptest::prelude::*;

use self::expected::{Shows, expect};
use crate::small::{small_pieces, write_small_pieces};
use crate::{IO_MODES, for_all, mount_with, mounts, patiently, range};

/// How images are read and compared.
type How = (IoMode, DiffOptions);

/// Compares the images at two paths.
fn diff(
    left: &Path,
    right: &Path,
    (io, options): &How,
    progress: &Progress,
    cancel: &Cancel,
    found: impl FnMut(&Difference) -> Result<()>,
) -> Result<DiffStats> {
    let image = ImageOptions { io: *io, ..ImageOptions::default() };
    let (left, right) = (Source::open(left, &image)?, Source::open(right, &image)?);
    lacuna::diff::diff(&left, &right, options, progress, cancel, found)
}

/// Everything that a diff says of two images.
fn found(left: &Path, right: &Path, options: &How) -> (Vec<Difference>, DiffStats) {
    let run = || -> Result<_> {
        let (progress, mut differences, mut percents) = (Progress::default(), vec![], vec![]);
        let stats = diff(left, right, options, &progress, &Cancel::default(), |difference| {
            differences.push(*difference);
            percents.push(progress.percent());
            Ok(())
        })?;
        assert!(percents.is_sorted() && percents.iter().all(|percent| *percent < 100));
        assert_eq!(progress.percent(), 100);
        Ok((differences, stats))
    };
    patiently(run).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn compared(left: &Path, right: &Path) -> (Vec<Difference>, DiffStats) {
    found(left, right, &How::default())
}

fn ways() -> impl Strategy<Value = How> + Clone {
    let io = prop::sample::select(IO_MODES.to_vec());
    (io, prop::sample::select(vec![1, 2, 4]))
        .prop_map(|(io, threads)| (io, DiffOptions { threads }))
}

/// Compares both ways round, and holds what comes out against the oracle.
fn check(left: &Path, right: &Path, shows: (Shows, Shows), options: &How) -> DiffStats {
    let (differences, stats) = found(left, right, options);
    let mut expected = expect(left, right, shows);
    // Nothing is shared unless a test shares it.
    expected.stats.shared_bytes = stats.shared_bytes;
    expected.stats.read_bytes -= 2 * stats.shared_bytes;
    assert_eq!(differences, expected.differences);
    assert_eq!(stats, expected.stats);
    assert_eq!(stats.is_same(), differences.is_empty());

    let (turned, _) = found(right, left, options);
    let back = |difference: &Difference| Difference {
        left: difference.right,
        right: difference.left,
        ..*difference
    };
    assert_eq!(turned.iter().map(back).collect::<Vec<_>>(), differences);
    stats
}

/// Two files, each in a directory of its own.
fn two(left: &Mount, right: &Mount) -> (PathBuf, PathBuf) {
    (left.path().join("left"), right.path().join("right"))
}

/// Compares random images on one mount with such on another, which may be the same.
fn compare(cases: u32, on: Option<Mount>, other: Option<Mount>) {
    let Some(on) = on else { return };
    let (left, right) = two(&on, other.as_ref().unwrap_or(&on));
    let shows = (Shows::of(on.fs()), Shows::of(other.as_ref().unwrap_or(&on).fs()));
    let pairs = prop_oneof![4 => pair_strategy(64), 1 => pair_strategy(900)];
    for_all(cases, (pairs, ways()), |((a, b), options)| {
        a.write(&left);
        b.write(&right);
        let stats = check(&left, &right, shows, &options);
        assert_eq!(stats.shared_bytes, 0);
    });
}

#[test]
fn differences_on_ext4_are_those_that_reading_shows() {
    compare(20, Mount::new(Fs::Ext4), None);
}

#[test]
fn differences_on_xfs_are_those_that_reading_shows() {
    compare(20, Mount::new(Fs::Xfs), None);
}

#[test]
fn differences_on_btrfs_are_those_that_reading_shows() {
    compare(16, Mount::new(Fs::Btrfs), None);
}

#[test]
fn differences_on_a_compressing_btrfs_are_those_that_reading_shows() {
    compare(16, compressing(), None);
}

#[test]
fn differences_on_tmpfs_are_those_that_reading_shows() {
    compare(20, Mount::new(Fs::Tmpfs), None);
}

#[test]
fn differences_between_filesystems_are_those_that_both_can_show() {
    let pairs =
        [(Fs::Ext4, Fs::Xfs), (Fs::Btrfs, Fs::Ext4), (Fs::Tmpfs, Fs::Xfs), (Fs::Ext4, Fs::Tmpfs)];
    for (on, other) in pairs {
        let Some(other) = Mount::new(other) else { continue };
        compare(8, Mount::new(on), Some(other));
    }
}

/// A btrfs that compresses whatever is written.
fn compressing() -> Option<Mount> {
    let mount = vec!["compress-force=zstd".to_owned()];
    Mount::with(Fs::Btrfs, &MountOptions { mount, ..MountOptions::default() })
}

#[test]
fn blocks_of_a_kilobyte_have_the_strongest_kind_in_4096_bytes() {
    let Some(mount) = mount_with(Fs::Ext4, &["-b", "1024"]) else { return };
    let (left, right) = two(&mount, &mount);
    let shows = (Shows::of(Fs::Ext4), Shows::of(Fs::Ext4));
    for_all(40, (small_pieces(), small_pieces(), ways()), |(a, b, options)| {
        write_small_pieces(&left, &a);
        write_small_pieces(&right, &b);
        check(&left, &right, shows, &options);
    });
}

#[test]
fn the_last_byte_of_a_block_counts() {
    for mount in mounts() {
        let (left, right) = two(&mount, &mount);
        let mut blocks = vec![Block::Data(0); 600];
        Pattern::whole(blocks.clone()).write(&left);
        blocks[300] = Block::DataLastByte;
        Pattern::whole(blocks).write(&right);
        let (differences, stats) = compared(&left, &right);
        let difference = Difference {
            range: range(300 * BLOCK, 301 * BLOCK),
            left: Some(Kind::Data),
            right: Some(Kind::Data),
            content: true,
        };
        assert_eq!(differences, [difference], "{}", mount.fs());
        assert_eq!((stats.content_bytes, stats.ranges), (BLOCK, 1), "{}", mount.fs());
    }
}

#[test]
fn a_device_has_no_kinds_to_differ_in() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let devices = (LoopDevice::new(4 << 20), LoopDevice::new((4 << 20) + 512));
    let (Some(one), Some(other)) = devices else { return };
    let file = mount.path().join("file");
    for_all(8, (pair_strategy(700), ways()), |((a, b), options)| {
        Pattern::whole(vec![Block::Data(7); 1024]).write_over(one.path());
        b.write_over(one.path());
        a.write(&file);
        check(&file, one.path(), (Shows::All, Shows::Nothing), &options);
    });
    for byte in [0, 9] {
        let stats =
            check(one.path(), other.path(), (Shows::Nothing, Shows::Nothing), &How::default());
        assert!(!stats.kinds_compared);
        assert_eq!(stats.past_end_bytes, 512);
        let mut bytes = std::fs::read(one.path()).unwrap();
        bytes[5000] = byte;
        std::fs::write(other.path(), bytes).unwrap();
    }
}

#[test]
fn what_only_one_of_them_has_moves_the_progress_too() {
    let Some(mount) = Mount::new(Fs::Tmpfs) else { return };
    let (left, right) = two(&mount, &mount);
    let blocks = (0..4096).map(|block| if block % 8 < 4 { Block::Data(1) } else { Block::Hole });
    Pattern::whole(blocks.collect()).write(&left);
    std::fs::File::create(&right).unwrap().set_len(4096 * BLOCK).unwrap();
    for (left, right) in [(&left, &right), (&right, &left)] {
        let (progress, mut last) = (Progress::default(), 0);
        let options = (IoMode::default(), DiffOptions { threads: 1 });
        diff(left, right, &options, &progress, &Cancel::default(), |_| {
            last = progress.percent();
            Ok(())
        })
        .unwrap();
        assert!(last > 90, "{last}");
    }
}

/// 2^63 bytes, but for a few at the very end.
#[test]
fn holes_of_any_size_take_no_time() {
    for fs in [Fs::Xfs, Fs::Tmpfs] {
        let Some(mount) = Mount::new(fs) else { continue };
        let (left, right) = two(&mount, &mount);
        let size = MAX_OFFSET & !(BLOCK - 1);
        for (path, text) in [(&left, "at the very end"), (&right, "at the very enD")] {
            let file = std::fs::File::create(path).unwrap();
            file.set_len(size).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), size - 100).unwrap();
        }
        let (differences, stats) = compared(&left, &right);
        let ranges: Vec<_> = differences.iter().map(|difference| difference.range).collect();
        assert_eq!(ranges, [range(size - BLOCK, size)]);
        assert_eq!(stats.read_bytes, 2 * BLOCK);
    }
}
