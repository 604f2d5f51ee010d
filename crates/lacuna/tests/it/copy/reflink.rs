//! Copies that share the space of their source.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lacuna::copy::{CopyOptions, CopyStats};
use lacuna::fiemap::{ExtentFlags, MapFlags, Walk};
use lacuna::{BLOCK, Cancel, Error, Kept, Progress, Reflink, Stopped};
use lacuna_testing::mount::{Fs, LoopDevice, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Kind, Pattern, strategy};
use proptest::prelude::*;

use super::{copied, has_checksum, names, put_checksum};
use crate::content::Content;
use crate::paths::copy;
use crate::{IO_MODES, changed_at, for_all, mark_of, mount_with, range};

/// Shorter runs are copied, in blocks: 64 KiB.
const SHORTEST: u64 = 16;

fn with(reflink: Reflink) -> CopyOptions {
    CopyOptions { reflink, ..CopyOptions::default() }
}

fn place(mount: &Mount) -> (PathBuf, PathBuf) {
    let directory = mount.path().join("images");
    std::fs::create_dir_all(&directory).unwrap();
    (directory.join("source"), directory.join("target"))
}

fn attempt(source: &Path, target: &Path, options: &CopyOptions) -> Result<CopyStats, Stopped> {
    copy(source, target, options, &Progress::default(), &Cancel::default())
}

/// Bytes before the end that the file shares with another.
fn shared(path: &Path) -> u64 {
    let file = File::open(path).unwrap();
    let whole = range(0, file.metadata().unwrap().len());
    let walk = Walk::new(&file, whole, MapFlags::SYNC).unwrap().map(Result::unwrap);
    let shared = walk.filter(|extent| extent.flags.contains(ExtentFlags::SHARED));
    shared
        .map(|extent| whole.intersect(range(extent.logical, extent.logical + extent.length)).len())
        .sum()
}

/// What a new target shares: the whole blocks of runs of data, if they are long enough.
fn clonable(pattern: &Pattern) -> u64 {
    let (mut start, mut bytes) = (0, 0);
    for run in pattern.kinds().chunk_by(|a, b| a == b) {
        let end = start + run.len();
        let whole = pattern.size.min(end as u64 * BLOCK) / BLOCK - start as u64;
        if run[0] == Kind::Data && whole >= SHORTEST {
            bytes += whole * BLOCK;
        }
        start = end;
    }
    bytes
}

/// Runs of all kinds, of which many are long enough to be shared.
fn long_runs() -> impl Strategy<Value = Pattern> + Clone {
    let block = prop_oneof![
        2 => Just(Block::Hole),
        2 => Just(Block::Zero),
        5 => (1..=255_u8).prop_map(Block::Data),
        1 => Just(Block::Data(0)),
    ];
    let length = prop_oneof![2 => 1..20_usize, 3 => 15..18_usize, 2 => 20..300_usize];
    let runs = prop::collection::vec((block, length), 0..12);
    let missing = prop_oneof![Just(0), Just(BLOCK - 1), 1..BLOCK];
    (runs, missing).prop_map(|(runs, missing)| {
        let runs = runs.into_iter().map(|(block, length)| vec![block; length]);
        let whole = Pattern::whole(runs.flatten().collect());
        Pattern { size: whole.size.saturating_sub(missing), ..whole }
    })
}

fn ways() -> impl Strategy<Value = CopyOptions> + Clone {
    let io = prop::sample::select(IO_MODES.to_vec());
    let reflink = prop::sample::select(vec![Reflink::Auto, Reflink::Always, Reflink::Never]);
    (io, prop::sample::select(vec![1, 2, 4]), reflink).prop_map(|(io, threads, reflink)| {
        CopyOptions { io, threads, reflink, ..CopyOptions::default() }
    })
}

/// Copies random images to new and to existing targets on one mount.
fn copy_random_images(cases: u32, mount: Option<Mount>) {
    let Some(mount) = mount else { return };
    let (source, target) = place(&mount);
    let images = (long_runs(), prop::option::of(strategy(600)), ways());
    for_all(cases, images, |(pattern, old, options)| {
        let _ = std::fs::remove_file(&target);
        pattern.write(&source);
        if let Some(old) = &old {
            old.write(&target);
        }
        let before = Content::of(&source);
        let stats = copied(&source, &target, &options);
        Content::of(&target).assert_is(&before, "the target");
        Content::of(&source).assert_is(&before, "the source");
        assert_eq!(stats.read_bytes + stats.reflinked_bytes, stats.kinds.data_bytes);
        match (options.reflink, &old) {
            (Reflink::Never, _) => assert_eq!(stats.reflinked_bytes, 0),
            (_, None) => {
                assert_eq!(stats.reflinked_bytes, clonable(&pattern));
                assert_eq!(stats.written_bytes, stats.kinds.data_bytes - stats.reflinked_bytes);
            }
            (_, Some(_)) => {}
        }
        assert_eq!(shared(&target), stats.reflinked_bytes);
        assert_eq!(names(target.parent().unwrap()), ["source", "target"]);
    });
}

#[test]
fn copies_within_xfs_share_what_they_can() {
    copy_random_images(20, Mount::new(Fs::Xfs));
}

#[test]
fn copies_within_btrfs_share_what_they_can() {
    copy_random_images(16, Mount::new(Fs::Btrfs));
}

#[test]
fn copies_within_a_compressing_btrfs_share_what_they_can() {
    let mount = vec!["compress-force=zstd".to_owned()];
    copy_random_images(8, Mount::with(Fs::Btrfs, &MountOptions { mount, ..Default::default() }));
}

#[test]
fn a_shared_target_takes_no_space_and_is_another_file() {
    for mount in [Fs::Xfs, Fs::Btrfs].into_iter().filter_map(Mount::new) {
        let (source, target) = place(&mount);
        let kinds = [Block::Data(1), Block::Zero, Block::Data(2), Block::Hole, Block::Data(3)];
        let blocks: Vec<_> = kinds.into_iter().flat_map(|block| vec![block; 2048]).collect();
        Pattern { size: 5 * 2048 * BLOCK - 100, blocks }.write(&source);
        let free = || {
            rustix::fs::syncfs(File::open(mount.path()).unwrap()).unwrap();
            let space = rustix::fs::statvfs(mount.path()).unwrap();
            space.f_bfree * space.f_frsize
        };
        let before = free();
        let stats = copied(&source, &target, &with(Reflink::Always));
        assert_eq!(stats.reflinked_bytes, 3 * 2048 * BLOCK - BLOCK, "{}", mount.fs());
        assert_eq!((stats.read_bytes, stats.written_bytes), (BLOCK - 100, BLOCK - 100));
        // The 8 MiB of unwritten space are its own.
        assert!(before - free() < 12 << 20, "{}", mount.fs());
        Content::of(&target).assert_is(&Content::of(&source), mount.fs());

        let (bytes, kept) = (std::fs::read(&source).unwrap(), Content::of(&target));
        let writer = File::options().write(true).open(&source).unwrap();
        writer.write_all_at(b"of the source alone", 5000).unwrap();
        Content::of(&target).assert_is(&kept, mount.fs());
        assert!(std::fs::read(&source).unwrap() != bytes);
    }
}

/// A run of data whose end is no multiple of the filesystem's block.
#[test]
fn larger_blocks_are_shared_whole() {
    let Some(mount) = mount_with(Fs::Xfs, &["-b", "size=16384"]) else { return };
    let (source, target) = place(&mount);
    let size = (1 << 20) + 3 * BLOCK + 5;
    std::fs::write(&source, vec![1; size as usize]).unwrap();
    let stats = copied(&source, &target, &with(Reflink::Always));
    assert_eq!(stats.reflinked_bytes, 1 << 20);
    Content::of(&target).assert_is(&Content::of(&source), "the target");
}

/// It leaves nothing behind of a new target, and an existing one as it was.
#[track_caller]
fn assert_not_reflinked(source: &Path, target: &Path) {
    let old = target.exists().then(|| (Content::of(target), changed_at(target)));
    let before = names(target.parent().unwrap());
    let Stopped { cause, kept } = attempt(source, target, &with(Reflink::Always)).unwrap_err();
    assert!(matches!(cause, Error::NotReflinked { .. }), "{cause:?}");
    assert!(cause.remedy().unwrap().contains("or copy"));
    assert_eq!(kept, Kept::Nothing);
    assert_eq!(names(target.parent().unwrap()), before);
    if let Some((content, changed)) = old {
        Content::of(target).assert_is(&content, "untouched");
        assert_eq!(changed_at(target), changed);
    }
}

#[test]
fn what_cannot_share_fails_before_it_begins_if_it_must_share() {
    let pattern = Pattern { size: 100 * BLOCK - 7, blocks: vec![Block::Data(1); 100] };
    let one = |fs| Some((Mount::new(fs)?, None));
    let two = |from, to| Some((Mount::new(from)?, Some(Mount::new(to)?)));
    let places = [
        one(Fs::Ext4),
        one(Fs::Tmpfs),
        two(Fs::Xfs, Fs::Xfs),
        two(Fs::Btrfs, Fs::Xfs),
        two(Fs::Xfs, Fs::Ext4),
    ];
    for (from, to) in places.into_iter().flatten() {
        let (source, target) = (place(&from).0, place(to.as_ref().unwrap_or(&from)).1);
        pattern.write(&source);
        assert_not_reflinked(&source, &target);
        assert!(!target.exists());
        // Of another size.
        Pattern::whole(vec![Block::Data(2); 5]).write(&target);
        put_checksum(&target);
        assert_not_reflinked(&source, &target);
        assert!(has_checksum(&target) && !mark_of(&target).exists());
        for reflink in [Reflink::Auto, Reflink::Never] {
            std::fs::remove_file(&target).unwrap();
            let stats = copied(&source, &target, &with(reflink));
            assert_eq!((stats.reflinked_bytes, stats.written_bytes), (0, pattern.size));
            let fs = to.as_ref().unwrap_or(&from).fs();
            Content::of(&target).assert_is(&Content::of(&source).held_by(fs), fs);
        }
    }
}

#[test]
fn a_device_shares_nothing() {
    let (Some(mount), Some(device)) = (Mount::new(Fs::Xfs), LoopDevice::new(1 << 20)) else {
        return;
    };
    let (source, target) = place(&mount);
    Pattern::whole(vec![Block::Data(1); 200]).write(&source);
    for (from, to) in [(&*source, device.path()), (device.path(), &*target)] {
        let run = || attempt(from, to, &with(Reflink::Always)).map_err(|stopped| stopped.cause);
        let error = crate::patiently(run).unwrap_err();
        assert!(matches!(error, Error::NotReflinked { .. }), "{error:?}");
        assert_eq!(copied(from, to, &with(Reflink::Auto)).reflinked_bytes, 0);
    }
}

/// A filesystem that can share, and these two files cannot: one is kept without checksums of its data.
#[test]
fn what_is_refused_for_a_range_is_copied_unless_it_must_be_shared() {
    let Some(mount) = Mount::new(Fs::Btrfs) else { return };
    let (source, target) = place(&mount);
    Pattern { size: 100 * BLOCK - 7, blocks: vec![Block::Data(1); 100] }.write(&source);
    File::create(&target).unwrap();
    assert!(Command::new("chattr").arg("+C").arg(&target).status().unwrap().success());
    let stopped = attempt(&source, &target, &with(Reflink::Always)).unwrap_err();
    assert!(matches!(stopped.cause, Error::NotReflinked { .. }), "{stopped:?}");
    let stats = copied(&source, &target, &with(Reflink::Auto));
    assert_eq!(stats.reflinked_bytes, 0);
    Content::of(&target).assert_is(&Content::of(&source), "the target");
}
