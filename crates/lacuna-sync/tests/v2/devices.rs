//! Block devices as source, as target, and as both.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lacuna::{IoMode, Kept};
use lacuna_sync::Error;
use lacuna_sync::v2::{Synced, TargetOptions};
use lacuna_testing::mount::{Fs, LoopDevice, Mount};
use lacuna_testing::pattern::{BLOCK, Block, Kind, Pattern, kinds_of, strategy};
use proptest::prelude::*;
use proptest::sample::select;

use crate::for_all;
use crate::pair::{Ended, Wiring, session};

const SIZE: u64 = 3 << 20;

/// How a session is done.
#[derive(Clone, Copy, Debug)]
struct How {
    io: IoMode,
    verify: bool,
    threads: usize,
}

fn hows() -> impl Strategy<Value = How> {
    let modes = select(&[IoMode::Auto, IoMode::Buffered, IoMode::Direct]);
    (modes, any::<bool>(), select(&[1, 3])).prop_map(|(io, verify, threads)| How {
        io,
        verify,
        threads,
    })
}

fn fill(device: &Path, byte: u8) {
    let file = File::options().write(true).open(device).unwrap();
    let size = bytes_of(device).len();
    file.write_all_at(&vec![byte; size], 0).unwrap();
    file.sync_all().unwrap();
}

fn bytes_of(image: &Path) -> Vec<u8> {
    std::fs::read(image).unwrap()
}

/// Where the kernel tells of a device.
fn sys(device: &Path) -> PathBuf {
    Path::new("/sys/block").join(device.file_name().unwrap())
}

/// Sectors that were written to a device, and that were discarded.
fn written_sectors(device: &Path) -> [u64; 2] {
    let stat = std::fs::read_to_string(sys(device).join("stat")).unwrap();
    let numbers: Vec<u64> = stat.split_whitespace().map(|field| field.parse().unwrap()).collect();
    [numbers[6], numbers[13]]
}

fn run(source: &Path, target: &Path, how: How) -> Ended {
    let mut wiring = Wiring { io: how.io, ..Wiring::default() };
    wiring.source.threads = how.threads;
    wiring.target = TargetOptions { threads: how.threads, verify: how.verify, no_resume: false };
    let begun = Instant::now();
    loop {
        let ended = session(source, target, &wiring);
        // A program that another test is starting may have the device open until it runs.
        let is_busy = ended.received.as_ref().is_err_and(|failure| is_busy(&failure.cause));
        if !is_busy || begun.elapsed() > Duration::from_secs(5) {
            return ended;
        }
    }
}

fn is_busy(error: &Error) -> bool {
    matches!(error, Error::Image(error)
        if error.io_kind() == Some(std::io::ErrorKind::ResourceBusy))
}

/// A session that comes to its end; what both ends say of it is the same.
#[track_caller]
fn synced(source: &Path, target: &Path, how: How) -> Synced {
    run(source, target, how).assert_done().clone()
}

/// After one that writes what differs, a second that writes nothing, as the kernel says too.
#[track_caller]
fn synced_twice(source: &Path, target: &Path, how: How) -> Synced {
    let received = synced(source, target, how);
    let (bytes, before) = (bytes_of(target), written_sectors(target));
    let again = synced(source, target, how);
    assert_eq!(again.written_bytes, 0);
    assert_eq!(written_sectors(target), before);
    assert!(bytes_of(target) == bytes);
    received
}

/// Bytes in blocks in which two images differ.
fn differing(a: &[u8], b: &[u8]) -> u64 {
    let blocks = a.chunks(BLOCK as usize).zip(b.chunks(BLOCK as usize));
    blocks.filter(|(a, b)| a != b).map(|(a, _)| a.len() as u64).sum()
}

#[test]
fn a_device_gets_the_bytes_and_keeps_the_rest() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let Some(device) = LoopDevice::new(SIZE) else { return };
    let source = mount.path().join("source.img");
    for_all(25, (strategy(700), strategy(700), hows()), |(pattern, old, how)| {
        pattern.write(&source);
        fill(device.path(), 7);
        old.write_over(device.path());
        let before = bytes_of(device.path());

        let received = synced_twice(&source, device.path(), how);

        let (bytes, size) = (pattern.bytes(), pattern.size as usize);
        let after = bytes_of(device.path());
        assert!(after[..size] == bytes, "the image");
        assert!(after[size..] == before[size..], "the rest");
        assert_eq!(received.rest_bytes, SIZE - pattern.size);
        let kinds = received.kinds;
        assert_eq!(kinds.allocated_bytes() + kinds.hole_bytes, pattern.size);
        assert!(received.written_bytes <= differing(&before[..size], &bytes), "{received:?}");
    });
}

#[test]
fn a_device_arrives_as_an_image_without_holes() {
    let mounts = [Fs::Ext4, Fs::Xfs].map(Mount::new);
    // Of whole chunks, of whole blocks, of sectors, and less than a block.
    for size in [SIZE, 65 * BLOCK, 65 * BLOCK + 512, 512] {
        let Some(device) = LoopDevice::new(size) else { return };
        for mount in mounts.iter().flatten() {
            let target = mount.path().join("target.img");
            let patterns = strategy((size / BLOCK) as usize);
            for_all(5, (patterns, strategy(70), any::<bool>(), hows()), |case| {
                let (pattern, old, is_new, how) = case;
                fill(device.path(), 0);
                pattern.write_over(device.path());
                old.write(&target);
                if is_new {
                    std::fs::remove_file(&target).unwrap();
                }
                let received = synced(device.path(), &target, how);
                assert_eq!((received.size_bytes, received.rest_bytes), (size, 0));
                assert!(bytes_of(&target) == bytes_of(device.path()));
                assert!(kinds_of(&target).iter().all(|kind| *kind == Kind::Data));
                let again = synced(device.path(), &target, how);
                assert_eq!(again.written_bytes, 0);
            });
        }
    }
}

#[test]
fn a_device_becomes_another_which_keeps_the_rest() {
    for (size, larger) in [(SIZE, SIZE), (65 * BLOCK + 512, 70 * BLOCK), (512, 1024)] {
        let devices = (LoopDevice::new(size), LoopDevice::new(larger));
        let (Some(source), Some(target)) = devices else { return };
        let patterns = strategy((size / BLOCK) as usize);
        for_all(8, (patterns.clone(), patterns, hows()), |(pattern, old, how)| {
            fill(source.path(), 0);
            fill(target.path(), 7);
            pattern.write_over(source.path());
            old.write_over(target.path());
            let before = bytes_of(target.path());

            let received = synced_twice(source.path(), target.path(), how);

            let (bytes, after) = (bytes_of(source.path()), bytes_of(target.path()));
            assert!(after[..size as usize] == bytes, "the image");
            assert!(after[size as usize..] == before[size as usize..], "the rest");
            assert_eq!(received.rest_bytes, larger - size);
            assert_eq!(received.kinds.data_bytes, size);
            assert!(received.written_bytes <= differing(&before, &bytes), "{received:?}");
        });
    }
}

const PLAIN: How = How { io: IoMode::Auto, verify: false, threads: 2 };

#[test]
fn what_is_a_hole_is_punched_where_a_device_has_something() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let Some(device) = LoopDevice::new(SIZE) else { return };
    let source = mount.path().join("source.img");
    let blocks = [vec![Block::Hole; 300], vec![Block::Data(1); 10], vec![Block::Zero; 300]];
    let pattern = Pattern::whole(blocks.concat());
    pattern.write(&source);
    fill(device.path(), 7);
    let medium = std::fs::read_to_string(sys(device.path()).join("loop/backing_file")).unwrap();
    let allocated = || std::fs::metadata(medium.trim_end()).unwrap().blocks() * 512;
    let before = allocated();
    let received = synced(&source, device.path(), PLAIN);
    assert_eq!(received.written_bytes, 10 * BLOCK);
    assert!(bytes_of(device.path()).starts_with(&pattern.bytes()));
    // A loop device punches its file.
    assert!(allocated() <= before - 600 * BLOCK, "{} of {before}", allocated());
}

/// Both ends are told why, and nothing was done.
#[track_caller]
fn assert_refused(ended: Ended, words: &[&str]) {
    let failure = ended.received.unwrap_err();
    let said = lacuna::describe(&failure.cause);
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    assert_eq!(failure.kept, Kept::Nothing);
    let heard = ended.sent.unwrap_err();
    assert!(matches!(&heard, Error::Peer { words, .. } if words.starts_with(&said)), "{heard:?}");
}

#[test]
fn a_device_that_is_too_small_is_refused_and_left_alone() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (device, larger) = (LoopDevice::new(SIZE), LoopDevice::new(SIZE + 512));
    let (Some(device), Some(larger)) = (device, larger) else { return };
    let source = mount.path().join("source.img");
    Pattern { blocks: vec![Block::Data(1); 769], size: SIZE + 1 }.write(&source);
    fill(device.path(), 7);
    for (source, needed) in [(source.as_path(), SIZE + 1), (larger.path(), SIZE + 512)] {
        let sizes = format!("has {SIZE} bytes, {needed} are needed");
        assert_refused(run(source, device.path(), PLAIN), &[&sizes]);
        assert!(bytes_of(device.path()) == vec![7; SIZE as usize]);
    }
}

#[test]
fn a_mounted_device_is_no_target() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let line = mounts.lines().find(|line| line.split(' ').nth(1) == mount.path().to_str());
    let device = Path::new(line.unwrap().split(' ').next().unwrap());
    let source = mount.path().join("source.img");
    std::fs::write(&source, "would overwrite the filesystem it is on").unwrap();
    let ended = session(&source, device, &Wiring::default());
    assert_refused(ended, &["cannot open exclusively", "busy"]);
    assert!(std::fs::read(&source).is_ok());
}

#[test]
fn a_device_is_not_synced_to_itself() {
    let Some(device) = LoopDevice::new(SIZE) else { return };
    fill(device.path(), 3);
    let ended = session(device.path(), device.path(), &Wiring::default());
    assert_refused(ended, &["is in use by another process"]);
    assert!(bytes_of(device.path()) == vec![3; SIZE as usize]);
}
