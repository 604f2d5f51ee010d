//! A sync fails. What was written is in memory as if it were on the disk, the system has said so once
//! and will not say it again (`fsync(2)`), and the disk does not have it.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use lacuna::copy::CopyOptions;
use lacuna::fiemap::{MapFlags, Walk};
use lacuna::{Cancel, IoMode, Progress, Range};
use lacuna_testing::mount::{Fs, LoopDevice, Mount};
use lacuna_testing::pattern::{Block, Pattern};
use rustix::fs::syncfs;

use crate::paths::copy;
use crate::points::{ALWAYS, NEVER, Points};
use crate::scenario::Scenario;

const JOB: u64 = 1 << 20;

fn jobs(count: u64, block: Block) -> Pattern {
    Pattern::whole(vec![block; (count * JOB / 4096) as usize])
}

/// Overwrites a range of a file on the disk of its filesystem, behind the back of that.
fn lose(mount: &Mount, path: &Path, range: Range) {
    let file = File::open(path).unwrap();
    // Nothing may be written there later.
    syncfs(&file).unwrap();
    let disk = mount.path().with_file_name("disk");
    let disk = File::options().write(true).open(disk).unwrap();
    let mut lost = 0;
    for extent in Walk::new(&file, range, MapFlags::SYNC).unwrap() {
        let extent = extent.unwrap();
        let within = Range::with_length(extent.logical, extent.length).unwrap().intersect(range);
        let at = extent.physical + (within.start() - extent.logical);
        disk.write_all_at(&vec![0xbb; within.len() as usize], at).unwrap();
        lost += within.len();
    }
    assert_eq!(lost, range.len(), "not all of it is on the disk");
}

/// Copies until the sync with this number fails, loses what that sync was to save, and repeats.
fn fail_sync(old: Option<Pattern>, checkpoints: &'static str, number: usize, lost: Range) {
    let mut points = Points::take();
    for fs in [Fs::Ext4, Fs::Xfs] {
        let source = jobs(5, Block::Data(1));
        let Some(mut scenario) = Scenario::new(fs, IoMode::Buffered, &source, old.clone()) else {
            continue;
        };
        scenario.prepare();
        points.checkpoints = checkpoints;
        points.fail_at(&vec!["image.sync"; number + 1], number, 5);
        let result = scenario.copy();
        points.clear();
        scenario.check(&result, "a sync failed");
        let data = scenario.directory().join(".target.lacuna-data");
        let written = if data.exists() { &data } else { &scenario.target };
        lose(&scenario.mount, written, lost);
        let again = scenario.complete("a sync had failed");
        scenario.mount.remount();
        scenario.check(&Ok(again), "a sync had failed, seen from the disk");
    }
}

#[test]
fn what_the_sync_of_a_device_did_not_save_is_written_again() {
    let points = Points::take();
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let Some(device) = LoopDevice::new(5 * JOB) else { return };
    let source = mount.path().join("source");
    jobs(5, Block::Data(1)).write(&source);
    let options = CopyOptions { io: IoMode::Buffered, ..CopyOptions::default() };
    let run = || copy(&source, device.path(), &options, &Progress::default(), &Cancel::default());
    points.fail_at(&["image.sync"], 0, 5);
    assert!(run().is_err());
    points.clear();
    File::open(device.path()).unwrap().sync_all().unwrap();
    let name = device.path().file_name().unwrap().to_str().unwrap();
    let disk = std::fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).unwrap();
    let disk = Path::new(disk.trim_end());
    let file = File::options().write(true).open(disk).unwrap();
    file.write_all_at(&vec![0xbb; JOB as usize], JOB).unwrap();
    // A program that another test is starting may have the device open until it runs.
    let start = Instant::now();
    while let Err(stopped) = run() {
        assert_eq!(stopped.cause.io_kind(), Some(ErrorKind::ResourceBusy), "{stopped:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "{stopped:?}");
    }
    assert!(std::fs::read(disk).unwrap() == std::fs::read(&source).unwrap());
}

#[test]
fn what_a_failed_checkpoint_did_not_save_is_written_again() {
    fail_sync(None, ALWAYS, 2, Range::new(2 * JOB, 3 * JOB).unwrap());
}

#[test]
fn what_the_last_sync_of_a_new_target_did_not_save_is_written_again() {
    fail_sync(None, NEVER, 0, Range::new(0, 5 * JOB).unwrap());
}

#[test]
fn what_the_last_sync_of_an_existing_target_did_not_save_is_written_again() {
    let old = jobs(5, Block::Data(7));
    fail_sync(Some(old), NEVER, 0, Range::new(JOB, 3 * JOB).unwrap());
}
