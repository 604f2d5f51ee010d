//! Random chains: the volume and each of its snapshots, read and copied, are what the oracle says.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lacuna::chain::ChainOptions;
use lacuna::copy::{self, CopyOptions};
use lacuna::{Cancel, IoMode, LayoutOptions, Progress, Reflink, Source};
use lacuna_testing::mount::{Fs, LoopDevice, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Pattern, strategy};
use lacuna_testing::replica::Replica;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{listed, opened, oracles};
use crate::chain::oracle::{Layer, flattened};
use crate::content::Content;
use crate::{IO_MODES, for_all, mount_with};

/// From the base to the tip: none is larger than the one above it, and often all are of one size.
fn layers() -> impl Strategy<Value = Vec<Pattern>> + Clone {
    let pattern = prop_oneof![4 => strategy(40), 1 => strategy(300)];
    (vec(pattern, 1..=8), any::<bool>()).prop_map(|(mut layers, same)| {
        layers.sort_by_key(|pattern| pattern.size);
        let tip = layers.last().expect("a tip").clone();
        for pattern in layers.iter_mut().filter(|_| same) {
            pattern.blocks.resize(tip.blocks.len(), Block::Hole);
            pattern.size = tip.size;
        }
        layers
    })
}

fn copied(source: &Source, target: &Path, options: &CopyOptions) -> Content {
    let plan = copy::plan(source, target, options).unwrap();
    let stats = copy::copy(source, target, options, &Progress::default(), &Cancel::default());
    let stats = stats.unwrap_or_else(|stopped| panic!("copy: {}", lacuna::describe(&stopped)));
    assert_eq!(plan.kinds, stats.kinds);
    if plan.target_exists == Some(false) {
        assert_eq!(plan.reflink_bytes, stats.reflinked_bytes, "{plan:?} {stats:?}");
        assert_eq!(plan.written_bytes_max, stats.written_bytes, "{plan:?} {stats:?}");
    }
    Content::of(target)
}

/// Exports the volume and each snapshot, over what was exported before.
fn check(mount: &Mount, patterns: Vec<Pattern>, io: IoMode, threads: usize, reflink: Reflink) {
    let directory = mount.path().join("replica");
    std::fs::create_dir(&directory).unwrap();
    let made = Replica::line(patterns);
    made.write(&directory);
    let (layers, target) = (oracles(&made), mount.path().join("image"));
    let copy = CopyOptions { io, threads, reflink, ..CopyOptions::default() };
    let options = ChainOptions { io, ..ChainOptions::default() };
    for tip in (0..layers.len()).rev() {
        let tip_first: Vec<Layer> = layers[..=tip].iter().rev().cloned().collect();
        let is_head = tip + 1 == layers.len();
        let snapshot = (!is_head).then(|| format!("s{tip}"));
        let size = made.layers[tip].pattern.size as usize;
        let expected = flattened(&tip_first, size);
        let source = opened(&directory, snapshot.as_deref(), &options).unwrap();
        let what = format!("layer {tip}");
        copied(&source, &target, &copy).assert_is(&expected, format!("{what}, over another"));
        std::fs::remove_file(&target).unwrap();
        copied(&source, &target, &copy).assert_is(&expected, &what);
        let paths: Vec<PathBuf> =
            made.layers[..=tip].iter().map(|layer| directory.join(&layer.file)).collect();
        drop(source);
        assert!(read_all(&listed(&paths, &options).unwrap()) == expected.bytes, "{what}, listed");
    }
    std::fs::remove_dir_all(&directory).unwrap();
    std::fs::remove_file(&target).unwrap();
}

fn read_all(source: &Source) -> Vec<u8> {
    let mut bytes = vec![7; source.size() as usize];
    source.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn check_on(mount: &Mount, cases: u32) {
    let reflink = prop_oneof![Just(Reflink::Auto), Just(Reflink::Never)];
    let how = (prop::sample::select(IO_MODES.to_vec()), 1..=3_usize, reflink);
    for_all(cases, (layers(), how), |(patterns, (io, threads, reflink))| {
        check(mount, patterns, io, threads, reflink);
    });
}

#[test]
fn a_volume_on_ext4_and_each_of_its_snapshots_is_exported_as_it_reads() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    check_on(&mount, 12);
}

#[test]
fn a_volume_on_ext4_with_small_blocks_is_exported_as_it_reads() {
    let Some(mount) = mount_with(Fs::Ext4, &["-b", "1024"]) else { return };
    check_on(&mount, 8);
}

#[test]
fn a_volume_on_xfs_and_each_of_its_snapshots_is_exported_as_it_reads() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    check_on(&mount, 12);
}

#[test]
fn a_volume_on_btrfs_and_each_of_its_snapshots_is_exported_as_it_reads() {
    let Some(mount) = Mount::new(Fs::Btrfs) else { return };
    check_on(&mount, 12);
}

/// Wherever a read begins and ends.
#[test]
fn any_range_of_a_chain_is_read() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let ranges = vec((any::<Index>(), any::<Index>()), 20);
    for_all(16, (layers(), ranges), |(patterns, ranges)| {
        let paths: Vec<_> =
            (0..patterns.len()).map(|index| mount.path().join(format!("{index}.img"))).collect();
        paths.iter().zip(&patterns).for_each(|(path, pattern)| pattern.write(path));
        let options = ChainOptions { io: IoMode::Buffered, ..ChainOptions::default() };
        let source = listed(&paths, &options).unwrap();
        let all = read_all(&source);
        for (from, to) in ranges {
            let [a, b] = [from, to].map(|index| index.index(all.len() + 1));
            let (start, end) = (a.min(b), a.max(b));
            let mut bytes = vec![7; end - start];
            source.read_at(&mut bytes, start as u64).unwrap();
            assert!(bytes == all[start..end], "{start}..{end}");
        }
        assert!(
            source.read_at(&mut [0; 2], all.len() as u64 - u64::from(!all.is_empty())).is_err()
        );
        let layout = source.layout(&LayoutOptions::default()).unwrap();
        let extents: Vec<_> = layout.collect::<Result<_, _>>().unwrap();
        let mut end = 0;
        for (index, extent) in extents.iter().enumerate() {
            assert_eq!(extent.range.start(), end);
            assert!(index == 0 || extents[index - 1].kind != extent.kind, "{extents:?}");
            end = extent.range.end();
        }
        assert_eq!(end, source.size());
        drop(source);
        paths.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    });
}

/// A head that the engine had not made as long as the volume yet.
#[test]
fn one_layer_that_is_shorter_than_the_volume_reads_as_holes_behind_its_end() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let directory = mount.path().join("replica");
    std::fs::create_dir(&directory).unwrap();
    let mut made = Replica::line(vec![Pattern::whole(vec![Block::Data(1), Block::Zero])]);
    made.size += 5 * 4096;
    made.write(&directory);
    let source = opened(&directory, None, &ChainOptions::default()).unwrap();
    let expected = flattened(&oracles(&made), made.size as usize);
    assert!(read_all(&source) == expected.bytes);
    let target = mount.path().join("image");
    copied(&source, &target, &CopyOptions::default()).assert_is(&expected, "the volume");
    assert!(source.image().is_none());
}

/// No time tells when a device changed, so that nothing is kept that was read through one.
#[test]
fn an_export_goes_on_where_it_stopped_unless_it_reads_through_a_device() {
    const SIZE: usize = 24 << 20;
    let (Some(from), Some(device)) = (Mount::new(Fs::Ext4), LoopDevice::new(SIZE as u64)) else {
        return;
    };
    let (layer, file) = (from.path().join("layer.img"), from.path().join("backing"));
    let mut blocks = vec![Block::Hole; SIZE / 4096];
    blocks[0] = Block::Data(9);
    Pattern::whole(blocks).write(&layer);
    // By another name, whose times are others.
    let (other, mode) = (from.path().join("other"), Mode::RUSR | Mode::WUSR);
    let number = std::fs::metadata(device.path()).unwrap().rdev();
    mknodat(CWD, &other, FileType::BlockDevice, mode, number).unwrap();
    for (backing, goes_on) in [(file.as_path(), true), (device.path(), false)] {
        let size_mib = 40;
        let options = MountOptions { size_mib, ..MountOptions::default() };
        let Some(to) = Mount::with(Fs::Ext4, &options) else { return };
        let (target, ballast) = (to.path().join("image"), to.path().join("ballast"));
        std::fs::write(&ballast, vec![1; SIZE]).unwrap();
        let export = || {
            let options =
                ChainOptions { backing: Some(backing.to_owned()), ..ChainOptions::default() };
            let source = listed(std::slice::from_ref(&layer), &options).unwrap();
            let (progress, cancel) = (Progress::default(), Cancel::default());
            copy::copy(&source, &target, &CopyOptions::default(), &progress, &cancel)
        };
        std::fs::write(backing, vec![1; SIZE]).unwrap();
        File::open(backing).unwrap().sync_all().unwrap();
        let stopped = export().unwrap_err();
        assert_eq!(stopped.cause.io_kind(), Some(std::io::ErrorKind::StorageFull));
        std::fs::remove_file(&ballast).unwrap();
        let byte = if goes_on { 1 } else { 2 };
        if !goes_on {
            std::fs::write(&other, vec![byte; SIZE]).unwrap();
        }
        let stats = export().unwrap();
        assert_eq!(stats.resumed_bytes > 0, goes_on, "{backing:?}");
        let bytes = std::fs::read(&target).unwrap();
        assert!(bytes[4096..] == vec![byte; SIZE - 4096], "{backing:?}");
    }
}
