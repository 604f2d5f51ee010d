//! Blocks of zeros become holes, and nothing else changes.

mod layers;
mod refused;

use std::path::Path;

use lacuna::dig::{DigOptions, DigPlan, DigStats, apply, plan};
use lacuna::{BLOCK, Cancel, Progress, checksum_file};
use lacuna_testing::mount::{Fs, LoopDevice, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Kind, Pattern, strategy};
use proptest::prelude::*;
use rustix::fs::statvfs;

use crate::content::Content;
use crate::small::{small_pieces, write_small_pieces};
use crate::{IO_MODES, allocated, changed_at, for_all, mount_with, mounts, patiently};

fn planned(path: &Path, options: &DigOptions) -> lacuna::Result<DigPlan> {
    let progress = Progress::default();
    let plan = patiently(|| plan(path, options, &progress, &Cancel::default()))?;
    assert_eq!(progress.percent(), 100);
    Ok(plan)
}

fn dug(path: &Path, options: &DigOptions) -> lacuna::Result<DigStats> {
    let progress = Progress::default();
    let stats = patiently(|| apply(path, options, &progress, &Cancel::default()))?;
    assert_eq!(progress.percent(), 100);
    Ok(stats)
}

fn put_checksum(image: &Path) {
    std::fs::write(checksum_file::path_of(image), "{}").unwrap();
}

fn has_checksum(image: &Path) -> bool {
    checksum_file::path_of(image).exists()
}

/// What digging makes of an image on a filesystem that allocates in `unit`s, and what it takes.
fn expect(before: &Content, unit: u64) -> (Content, DigPlan) {
    let mut plan = DigPlan { size_bytes: before.bytes.len() as u64, ..DigPlan::default() };
    let mut after = before.clone();
    let kinds = after.kinds.chunks_mut((unit / BLOCK) as usize);
    for (bytes, kinds) in before.bytes.chunks(unit as usize).zip(kinds) {
        let len = bytes.len() as u64;
        plan.read_bytes += if kinds.contains(&Kind::Data) { len } else { 0 };
        if bytes.iter().all(|byte| *byte == 0) && kinds.iter().any(|kind| *kind != Kind::Hole) {
            plan.dug_bytes += len;
            kinds.fill(Kind::Hole);
        }
    }
    (after, plan)
}

/// Plans, digs, and digs again, and compares all that can be seen of it with what is expected.
fn check(path: &Path, options: &DigOptions) {
    let before = Content::of(path);
    let unit = statvfs(path).unwrap().f_frsize.max(BLOCK);
    let (after, expected) = expect(&before, unit);
    let (changed, space) = (changed_at(path), allocated(path));
    put_checksum(path);
    assert_eq!(planned(path, options).unwrap(), expected);
    assert_eq!(changed_at(path), changed, "a plan changes nothing");
    assert!(has_checksum(path));

    let stats = dug(path, options).unwrap();
    Content::of(path).assert_is(&after, "dug");
    let told = (stats.size_bytes, stats.read_bytes, stats.dug_bytes);
    assert_eq!(told, (expected.size_bytes, expected.read_bytes, expected.dug_bytes));
    assert_eq!(stats.reclaimed_bytes, space.saturating_sub(allocated(path)));
    assert_eq!(has_checksum(path), stats.dug_bytes == 0, "gone when something was dug");

    let changed = changed_at(path);
    put_checksum(path);
    let again = dug(path, options).unwrap();
    assert_eq!((again.dug_bytes, again.reclaimed_bytes), (0, 0));
    assert_eq!(changed_at(path), changed, "the second time");
    assert!(has_checksum(path), "the second time");
    std::fs::remove_file(checksum_file::path_of(path)).unwrap();
}

fn ways() -> impl Strategy<Value = DigOptions> + Clone {
    let io = prop::sample::select(IO_MODES.to_vec());
    let threads = prop::sample::select(vec![1, 2, 4]);
    (io, threads).prop_map(|(io, threads)| DigOptions { io, threads, ..DigOptions::default() })
}

fn dig_random_images(cases: u32, mount: Option<Mount>) {
    let Some(mount) = mount else { return };
    let path = mount.path().join("image");
    let patterns = prop_oneof![4 => strategy(64), 1 => strategy(900)];
    for_all(cases, (patterns, ways()), |(pattern, options)| {
        pattern.write(&path);
        check(&path, &options);
    });
}

#[test]
fn what_is_dug_on_ext4_is_every_block_of_zeros() {
    dig_random_images(16, Mount::new(Fs::Ext4));
}

#[test]
fn what_is_dug_on_xfs_is_every_block_of_zeros() {
    dig_random_images(16, Mount::new(Fs::Xfs));
}

#[test]
fn what_is_dug_on_btrfs_is_every_block_of_zeros() {
    dig_random_images(12, Mount::new(Fs::Btrfs));
    let mount = vec!["compress-force=zstd".to_owned()];
    dig_random_images(8, Mount::with(Fs::Btrfs, &MountOptions { mount, ..Default::default() }));
}

#[test]
fn what_is_dug_on_tmpfs_is_every_block_of_zeros() {
    dig_random_images(16, Mount::new(Fs::Tmpfs));
}

#[test]
fn on_smaller_blocks_4096_bytes_are_dug_together() {
    let Some(mount) = mount_with(Fs::Ext4, &["-b", "1024"]) else { return };
    let path = mount.path().join("image");
    for_all(30, (small_pieces(), ways()), |(pieces, options)| {
        write_small_pieces(&path, &pieces);
        check(&path, &options);
    });
}

#[test]
fn on_larger_blocks_only_whole_ones_are_dug() {
    let Some(mount) = mount_with(Fs::Xfs, &["-b", "size=16384"]) else { return };
    let path = mount.path().join("image");
    for_all(12, (strategy(200), ways()), |(pattern, options)| {
        // A pattern cannot have its holes here.
        std::fs::write(&path, pattern.bytes()).unwrap();
        check(&path, &options);
    });
}

#[test]
fn the_last_byte_of_a_block_counts_and_so_does_a_partial_block() {
    for mount in mounts() {
        let path = mount.path().join("image");
        let blocks = vec![Block::DataLastByte, Block::Data(0), Block::DataLastByte, Block::Data(0)];
        Pattern { size: 3 * BLOCK + 5, blocks }.write(&path);
        let stats = dug(&path, &DigOptions::default()).unwrap();
        assert_eq!(stats.dug_bytes, BLOCK + 5, "{}", mount.fs());
        let kinds = [Kind::Data, Kind::Hole, Kind::Data, Kind::Hole];
        assert_eq!(Content::of(&path).kinds, kinds, "{}", mount.fs());
    }
}

/// Zeros that are only in memory as yet, over what is data on the disk.
#[test]
fn what_was_just_written_is_what_counts() {
    for mount in mounts() {
        let path = mount.path().join("image");
        Pattern::whole(vec![Block::Data(1), Block::Zero, Block::Data(0), Block::Hole]).write(&path);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let write = |bytes: &[u8], offset| {
            std::os::unix::fs::FileExt::write_all_at(&file, bytes, offset).unwrap();
        };
        write(&[0; 4096], 0);
        write(&[1], BLOCK + 4095);
        write(&[1], 3 * BLOCK);
        drop(file);
        let bytes = std::fs::read(&path).unwrap();
        dug(&path, &DigOptions::default()).unwrap();
        let after = Content::of(&path);
        assert_eq!(after.kinds, [Kind::Hole, Kind::Data, Kind::Hole, Kind::Data], "{}", mount.fs());
        assert!(after.bytes == bytes);
    }
}

/// The zeros of a device are punched, which a file under it gives up.
#[test]
fn a_device_keeps_its_bytes_and_gives_up_the_space_of_zeros() {
    let Some(device) = LoopDevice::new((2 << 20) + 512) else { return };
    let name = device.path().file_name().unwrap().to_str().unwrap();
    let below = format!("/sys/block/{name}/loop/backing_file");
    let below = std::fs::read_to_string(below).unwrap();
    let mut bytes = vec![0; (2 << 20) + 512];
    bytes[BLOCK as usize..][..100].fill(1);
    bytes[2 << 20] = 1;
    std::fs::write(device.path(), &bytes).unwrap();
    std::fs::File::open(device.path()).unwrap().sync_all().unwrap();
    let before = allocated(Path::new(below.trim_end()));
    let options = DigOptions::default();
    let plan = planned(device.path(), &options).unwrap();
    let stats = dug(device.path(), &options).unwrap();
    assert_eq!((plan.dug_bytes, stats.dug_bytes), ((2 << 20) - BLOCK, (2 << 20) - BLOCK));
    assert!(std::fs::read(device.path()).unwrap() == bytes);
    let after = allocated(Path::new(below.trim_end()));
    assert!(after + (1 << 20) < before, "{before} {after}");
}

#[test]
fn the_checksum_goes_that_stands_beside_the_image_a_link_leads_to() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (path, link) = (mount.path().join("image"), mount.path().join("lost+found/link"));
    Pattern::whole(vec![Block::Data(0); 4]).write(&path);
    put_checksum(&path);
    std::os::unix::fs::symlink(&path, &link).unwrap();
    dug(&link, &DigOptions::default()).unwrap();
    assert!(!has_checksum(&path));
}
