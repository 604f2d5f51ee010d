//! Holes, unwritten ranges, and the end of a file.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lacuna::{BLOCK, Image, Range};
use lacuna_testing::mount::{Fs, LoopDevice, Mount};
use lacuna_testing::pattern::{Block, Kind, Pattern, kinds_of};
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use tempfile::TempDir;

use crate::{mount_with, mounts, open_for_writing, range};

/// Every filesystem, and ext4 and XFS with other blocks than the usual.
fn all_mounts() -> impl Iterator<Item = Mount> {
    let small = mount_with(Fs::Ext4, &["-b", "1024"]);
    let large = mount_with(Fs::Xfs, &["-b", "size=16384"]);
    mounts().chain(small).chain(large)
}

/// An image of data whose last block is partial, open for writing.
fn full_image(path: &Path, size: u64) -> Image {
    std::fs::write(path, vec![7; size as usize]).unwrap();
    open_for_writing(path)
}

#[test]
fn a_punched_end_leaves_nothing_allocated() {
    for mount in all_mounts() {
        let path = mount.path().join("image");
        for size in [1, 1000, 4095, 4097, 100_000] {
            let image = full_image(&path, size);
            image.sync().unwrap();
            assert!(image.allocated_bytes().unwrap() > 0 || size < BLOCK);
            image.punch(range(0, size)).unwrap();
            image.sync().unwrap();
            assert!(kinds_of(&path).iter().all(|kind| *kind == Kind::Hole));
            assert_eq!(image.allocated_bytes().unwrap(), 0, "{}", mount.fs());
            assert_eq!(std::fs::metadata(&path).unwrap().len(), size);
        }
    }
}

#[test]
fn a_zeroed_end_leaves_no_data() {
    for mount in all_mounts().filter(|mount| mount.fs().has_zero()) {
        let path = mount.path().join("image");
        for size in [1000, 4097, 100_000] {
            let image = full_image(&path, size);
            image.sync().unwrap();
            image.zero_range(range(0, size)).unwrap();
            image.sync().unwrap();
            let kinds = kinds_of(&path);
            assert!(kinds.iter().all(|kind| *kind == Kind::Zero), "{kinds:?}");
            assert_eq!(std::fs::read(&path).unwrap(), vec![0; size as usize]);
        }
    }
}

#[test]
fn only_the_range_is_punched_or_zeroed() {
    for mount in mounts() {
        let path = mount.path().join("image");
        let image = full_image(&path, 64 * BLOCK);
        image.punch(range(8 * BLOCK, 24 * BLOCK)).unwrap();
        let zeroed = image.zero_range(range(40 * BLOCK, 56 * BLOCK));
        image.sync().unwrap();
        let mut expected = [Kind::Data; 64];
        expected[8..24].fill(Kind::Hole);
        let mut bytes = vec![7; 64 * BLOCK as usize];
        bytes[8 * 4096..24 * 4096].fill(0);
        if mount.fs().has_zero() {
            zeroed.unwrap();
            expected[40..56].fill(Kind::Zero);
            bytes[40 * 4096..56 * 4096].fill(0);
        } else {
            let kind = zeroed.unwrap_err().io_kind();
            assert_eq!(kind, Some(ErrorKind::Unsupported));
        }
        assert_eq!(kinds_of(&path), expected, "{}", mount.fs());
        assert!(std::fs::read(&path).unwrap() == bytes);
    }
}

#[test]
fn an_empty_range_changes_nothing() {
    for mount in mounts() {
        let path = mount.path().join("image");
        let image = full_image(&path, 10_000);
        let before = image.stamp().unwrap();
        for at in [0, 5000, 10_000] {
            image.punch(range(at, at)).unwrap();
            image.zero_range(range(at, at)).unwrap();
        }
        image.check_unchanged(&before).unwrap();
    }
}

/// Grows a file whose blocks are all `block`, and compares.
fn grow(path: &Path, (old, block, new): (u64, Block, u64), preallocated: bool) {
    let blocks = vec![block; u64::div_ceil(old, BLOCK) as usize];
    Pattern { blocks, size: old }.write(path);
    let before = kinds_of(path);
    let file = File::options().write(true).open(path).unwrap();
    if preallocated {
        // From the filesystem's next block on, so that all of it lies behind the end.
        let end = old.next_multiple_of(fstatvfs(&file).unwrap().f_frsize);
        fallocate(&file, FallocateFlags::KEEP_SIZE, end, 1 << 20).unwrap();
        file.sync_all().unwrap();
    }
    let mut image = open_for_writing(path);
    image.truncate(new).unwrap();
    image.sync().unwrap();
    assert_eq!((image.size(), file.metadata().unwrap().len()), (new, new));
    let kinds = kinds_of(path);
    assert!(kinds.starts_with(&before), "{old} to {new}: {kinds:?}");
    // A larger block of the filesystem has one kind.
    let same = old.next_multiple_of(image.allocation_unit()).div_ceil(BLOCK) as usize;
    let gained = &kinds[same.min(kinds.len())..];
    assert!(gained.iter().all(|kind| *kind == Kind::Hole), "{old} to {new}: {gained:?}");
}

#[test]
fn what_a_growing_file_gains_is_a_hole() {
    for mount in all_mounts() {
        let path = mount.path().join("image");
        let (hole, data) = (Block::Hole, Block::Data(1));
        // Within the last block, to the next, and far behind.
        for growth in [
            (0, hole, 300_000),
            (BLOCK, data, 300_001),
            (1000, data, 3000),
            (1000, hole, 3000),
            (1000, data, 300_000),
            (1000, hole, 300_000),
            (BLOCK + 1000, hole, 300_000),
            (BLOCK + 1000, data, 4 << 20),
        ] {
            grow(&path, growth, false);
            // To preallocate behind a partial hole, btrfs writes zeros to that.
            if mount.fs() != Fs::Btrfs || growth.1 != hole {
                grow(&path, growth, true);
            }
        }
    }
}

#[test]
fn a_cut_file_reads_as_zeros_when_it_grows_again() {
    for mount in all_mounts() {
        let path = mount.path().join("image");
        let mut image = full_image(&path, 50_000);
        image.truncate(10_001).unwrap();
        image.truncate(60_000).unwrap();
        image.sync().unwrap();
        let expected = [vec![7; 10_001], vec![0; 49_999]].concat();
        assert!(std::fs::read(&path).unwrap() == expected);
    }
}

#[test]
fn a_size_beyond_all_offsets_is_refused() {
    for mount in mounts() {
        let path = mount.path().join("image");
        let mut image = full_image(&path, 100);
        for size in [u64::MAX, lacuna::MAX_OFFSET + 1] {
            let kind = image.truncate(size).unwrap_err().io_kind();
            assert_eq!(kind, Some(ErrorKind::FileTooLarge));
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 100);
    }
}

/// Punching makes `part` of the device at `path` read as zeros, and leaves the rest.
fn punch_device(path: &Path, part: Range) {
    let image = open_for_writing(path);
    let size = image.size();
    image.write_at(&vec![7; size as usize], 0).unwrap();
    image.punch(part).unwrap();
    image.sync().unwrap();
    drop(image);
    let mut expected = vec![7; size as usize];
    expected[part.start() as usize..part.end() as usize].fill(0);
    assert!(std::fs::read(path).unwrap() == expected, "{part}");
}

#[test]
fn a_punched_device_reads_as_zeros() {
    let Some(device) = LoopDevice::new(1 << 20) else {
        return;
    };
    punch_device(device.path(), range(8 * BLOCK, 24 * BLOCK));
    punch_device(device.path(), range(512, 1024));
    punch_device(device.path(), range(0, 1 << 20));
    punch_device(device.path(), range((1 << 20) - 4096, 1 << 20));
}

/// A loop device over a ramfs, which has no `fallocate`: such a device cannot punch.
struct DeviceWithoutPunching {
    held: Option<File>,
    device: PathBuf,
    point: TempDir,
}

impl DeviceWithoutPunching {
    fn new() -> Option<Self> {
        // Asks for the same rights, and says so where they are missing.
        LoopDevice::new(1 << 20)?;
        let point = tempfile::tempdir().unwrap();
        run(Command::new("mount").args(["-t", "ramfs", "ramfs"]).arg(point.path()));
        let disk = point.path().join("disk");
        File::create(&disk).unwrap().set_len(1 << 20).unwrap();
        let device = run(Command::new("losetup").args(["-f", "--show"]).arg(&disk));
        let device = PathBuf::from(device.trim());
        let held = File::open(&device).unwrap();
        // Detached by the kernel once nobody has it open.
        run(Command::new("losetup").arg("-d").arg(&device));
        Some(Self { held: Some(held), device, point })
    }
}

impl Drop for DeviceWithoutPunching {
    fn drop(&mut self) {
        self.held = None;
        let _ = Command::new("umount").arg("-l").arg(self.point.path()).status();
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_device_that_cannot_punch_is_zeroed_instead() {
    let Some(device) = DeviceWithoutPunching::new() else {
        return;
    };
    let file = File::options().write(true).open(&device.device).unwrap();
    file.write_all_at(&[1; 512], 0).unwrap();
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let punched = fallocate(&file, flags, 0, BLOCK);
    assert_eq!(punched, Err(rustix::io::Errno::OPNOTSUPP), "not what the test is about");
    drop(file);
    punch_device(&device.device, range(8 * BLOCK, 24 * BLOCK));
    punch_device(&device.device, range(0, 1 << 20));
}
