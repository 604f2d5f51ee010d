//! Devices as source and as target.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use lacuna::copy::CopyOptions;
use lacuna::{BLOCK, Error};
use lacuna_testing::mount::{Fs, LoopDevice, Mount};
use lacuna_testing::pattern::{Block, Kind, Pattern, kinds_of, strategy};
use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{compared, copied, names, refused};
use crate::{IO_MODES, for_all};

const SIZE: u64 = 3 << 20;

fn fill(device: &Path, byte: u8) {
    let file = File::options().write(true).open(device).unwrap();
    file.write_all_at(&vec![byte; SIZE as usize], 0).unwrap();
    file.sync_all().unwrap();
}

/// Bytes in blocks in which two images differ.
fn differing(a: &[u8], b: &[u8]) -> u64 {
    let blocks = a.chunks(BLOCK as usize).zip(b.chunks(BLOCK as usize));
    blocks.filter(|(a, b)| a != b).map(|(a, _)| a.len() as u64).sum()
}

/// Of the blocks of the pattern that have such a kind, the bytes of those that differ.
fn differing_where(pattern: &Pattern, found: &[u8], is: impl Fn(Kind) -> bool) -> u64 {
    let bytes = pattern.bytes();
    let blocks = bytes.chunks(BLOCK as usize).zip(found.chunks(BLOCK as usize));
    let of_kind = blocks.zip(pattern.kinds()).filter(|(_, kind)| is(*kind));
    of_kind.map(|((wanted, found), _)| differing(wanted, &found[..wanted.len()])).sum()
}

#[test]
fn a_device_gets_the_bytes_and_keeps_the_rest() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let Some(device) = LoopDevice::new(SIZE) else { return };
    let source = mount.path().join("source");
    let io = prop::sample::select(IO_MODES.to_vec());
    for_all(10, (strategy(700), strategy(700), io), |(pattern, old, io)| {
        pattern.write(&source);
        fill(device.path(), 7);
        old.write_over(device.path());
        let before = std::fs::read(device.path()).unwrap();
        let options = CopyOptions { io, ..CopyOptions::default() };
        let planned = compared(&source, device.path(), &options).unwrap();
        let zeroed = differing_where(&pattern, &before, |kind| kind != Kind::Data);

        let stats = copied(&source, device.path(), &options);

        assert_eq!(planned.cleared_bytes, zeroed);
        assert_eq!(planned.written_bytes, Some(stats.written_bytes));
        assert_eq!(planned.read_bytes, stats.read_bytes);
        assert_eq!(planned.compared_bytes, stats.compared_bytes);
        assert_eq!((planned.needed_bytes, planned.free_bytes), (0, None));
        let (bytes, size) = (pattern.bytes(), pattern.size as usize);
        let after = std::fs::read(device.path()).unwrap();
        assert!(after[..size] == bytes, "the image");
        assert!(after[size..] == before[size..], "the rest");
        assert_eq!(stats.rest_bytes, SIZE - pattern.size);
        assert_eq!(stats.kinds.allocated_bytes() + stats.kinds.hole_bytes, pattern.size);
        assert!(stats.written_bytes <= differing(&before[..size], &bytes), "{stats:?}");
        let again = copied(&source, device.path(), &options);
        assert_eq!((again.written_bytes, again.compared_bytes), (0, pattern.size));
    });
}

#[test]
fn what_is_a_hole_is_neither_read_nor_written_but_punched_where_a_device_has_something() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let Some(device) = LoopDevice::new(SIZE) else { return };
    let source = mount.path().join("source");
    let blocks = [vec![Block::Hole; 300], vec![Block::Data(1); 10], vec![Block::Hole; 300]];
    let pattern = Pattern::whole(blocks.concat());
    pattern.write(&source);
    fill(device.path(), 7);
    let name = device.path().file_name().unwrap().to_str().unwrap();
    let disk = std::fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).unwrap();
    let allocated = || std::fs::metadata(disk.trim_end()).unwrap().blocks() * 512;
    let before = allocated();
    let stats = copied(&source, device.path(), &CopyOptions::default());
    assert_eq!((stats.read_bytes, stats.written_bytes), (10 * BLOCK, 10 * BLOCK));
    assert_eq!(stats.compared_bytes, pattern.size);
    assert!(std::fs::read(device.path()).unwrap().starts_with(&pattern.bytes()));
    // A loop device punches its file.
    assert!(allocated() <= before - 600 * BLOCK, "{} of {before}", allocated());
}

#[test]
fn a_device_that_is_too_small_is_left_alone() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let Some(device) = LoopDevice::new(SIZE) else { return };
    let source = mount.path().join("source");
    Pattern { blocks: vec![Block::Data(1); 769], size: SIZE + 1 }.write(&source);
    fill(device.path(), 7);
    let error = refused(&source, device.path());
    let needed = SIZE + 1;
    assert!(
        matches!(error, Error::TooSmall { size: SIZE, needed: n, .. } if n == needed),
        "{error:?}"
    );
    assert!(std::fs::read(device.path()).unwrap() == vec![7; SIZE as usize]);
}

#[test]
fn a_device_is_copied_to_a_file_in_full() {
    for mount in crate::mounts() {
        let Some(device) = LoopDevice::new(SIZE) else { return };
        let pattern = Pattern::whole(vec![Block::Data(1), Block::Hole, Block::Data(2)]);
        pattern.write_over(device.path());
        let target = mount.path().join("target");
        for time in ["new", "existing"] {
            let stats = copied(device.path(), &target, &CopyOptions::default());
            assert_eq!((stats.size_bytes, stats.rest_bytes), (SIZE, 0));
            let bytes = std::fs::read(&target).unwrap();
            assert!(bytes == std::fs::read(device.path()).unwrap(), "{time}");
            assert!(kinds_of(&target).iter().all(|kind| *kind == Kind::Data));
            assert!(!names(mount.path()).iter().any(|name| name.starts_with('.')));
        }
    }
}

#[test]
fn a_device_is_copied_to_a_device() {
    let devices = (LoopDevice::new(SIZE), LoopDevice::new(SIZE + 4096));
    let (Some(source), Some(target)) = devices else { return };
    fill(source.path(), 1);
    Pattern::whole(vec![Block::Hole, Block::Data(9)]).write_over(source.path());
    let stats = copied(source.path(), target.path(), &CopyOptions::default());
    assert_eq!(stats.rest_bytes, 4096);
    let bytes = std::fs::read(target.path()).unwrap();
    assert!(bytes[..SIZE as usize] == std::fs::read(source.path()).unwrap());
    assert_eq!(bytes[SIZE as usize..], [0; 4096]);
}

#[test]
fn a_device_under_two_names_is_one_device() {
    let Some(device) = LoopDevice::new(SIZE) else { return };
    let directory = tempfile::tempdir().unwrap();
    let node = directory.path().join("node");
    let number = rustix::fs::stat(device.path()).unwrap().st_rdev;
    mknodat(CWD, &node, FileType::BlockDevice, Mode::RUSR | Mode::WUSR, number).unwrap();
    fill(device.path(), 3);
    let error = refused(device.path(), &node);
    assert!(matches!(error, Error::SameFile { .. }), "{error:?}");
    assert!(std::fs::read(device.path()).unwrap() == vec![3; SIZE as usize]);
}

#[test]
fn a_mounted_device_is_no_target() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let line = mounts.lines().find(|line| line.split(' ').nth(1) == mount.path().to_str());
    let device = Path::new(line.unwrap().split(' ').next().unwrap());
    let source = mount.path().join("source");
    std::fs::write(&source, "would overwrite the filesystem it is on").unwrap();
    let error = refused(&source, device);
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::ResourceBusy));
    assert!(std::fs::read(&source).is_ok());
}
