//! What a copy to a new target takes over from one that was interrupted, and when it must not.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lacuna::copy::{CopyOptions, CopyStats};
use lacuna::{Cancel, Error, IoMode, Progress};
use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Pattern};
use rustix::fs::{FallocateFlags, fallocate, fstatvfs, syncfs};

use crate::content::Content;
use crate::paths::copy;
use crate::points::{ALWAYS, NEVER, Points};
use crate::scenario::{Scenario, names};

/// Bytes in a job: what is read, written and recorded together.
const JOB: u64 = 1 << 20;

/// How long another thread is waited for before a test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// Six jobs of data.
fn source() -> Pattern {
    Pattern::whole(vec![Block::Data(1); 6 * 256])
}

/// What an interrupted copy had done and recorded.
const DONE: u64 = 4 * JOB;

/// A copy to a new target that was stopped after four jobs.
fn interrupted(points: &mut Points, fs: Fs) -> Option<Scenario> {
    let mut scenario = Scenario::new(fs, IoMode::Buffered, &source(), None)?;
    scenario.prepare();
    points.checkpoints = ALWAYS;
    let (cancel, records) = (Cancel::default(), AtomicUsize::new(0));
    let stop = cancel.clone();
    points.visit(move |name, _| {
        // The first record says that nothing is done yet.
        if name == "beside.rename" && records.fetch_add(1, Ordering::SeqCst) == 3 {
            stop.cancel();
        }
    });
    let stopped = run(&scenario, &cancel);
    points.clear();
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
    assert!(record(&scenario).exists());
    Some(scenario)
}

fn run(scenario: &Scenario, cancel: &Cancel) -> lacuna::Result<CopyStats> {
    let progress = Progress::default();
    let copied = copy(&scenario.source, &scenario.target, &scenario.options, &progress, cancel);
    copied.map_err(|stopped| stopped.cause)
}

fn record(scenario: &Scenario) -> PathBuf {
    scenario.directory().join(".target.lacuna-partial")
}

fn data(scenario: &Scenario) -> PathBuf {
    scenario.directory().join(".target.lacuna-data")
}

#[test]
fn what_the_record_says_is_done_is_not_done_again() {
    let mut points = Points::take();
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Btrfs, Fs::Tmpfs] {
        let Some(scenario) = interrupted(&mut points, fs) else { continue };
        assert!(!scenario.target.exists());
        let stats = scenario.complete("resumed");
        assert_eq!(stats.resumed_bytes, DONE, "{fs}");
        assert_eq!((stats.compared_bytes, stats.written_bytes), (0, 2 * JOB), "{fs}");
        assert_eq!(stats.kinds.data_bytes, stats.size_bytes);
    }
}

/// The record of a copy that was killed before it could write its last one.
fn forget_last_job(scenario: &Scenario) {
    let text = std::fs::read_to_string(record(scenario)).unwrap();
    let less = text.replace(&done(DONE), &done(DONE - JOB));
    assert_ne!(less, text);
    std::fs::write(record(scenario), less).unwrap();
}

fn done(bytes: u64) -> String {
    format!("\"done_bytes\":{bytes}")
}

#[test]
fn what_arrived_unrecorded_is_compared() {
    let mut points = Points::take();
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Btrfs, Fs::Tmpfs] {
        let Some(scenario) = interrupted(&mut points, fs) else { continue };
        forget_last_job(&scenario);
        let stats = scenario.complete("resumed");
        assert_eq!(stats.resumed_bytes, DONE - JOB, "{fs}");
        assert_eq!((stats.compared_bytes, stats.written_bytes), (JOB, 2 * JOB), "{fs}");
    }
}

#[test]
fn what_the_record_says_is_done_survives_a_power_cut() {
    let mut points = Points::take();
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Btrfs] {
        let Some(mut scenario) = interrupted(&mut points, fs) else { continue };
        let device = |scenario: &Scenario| std::fs::metadata(scenario.directory()).unwrap().dev();
        let before = device(&scenario);
        scenario.mount.cut_power();
        scenario.mount.remount();
        // Another loop device may be had now, and on another device it is another file.
        let expected = if device(&scenario) == before { DONE } else { 0 };
        let stats = scenario.complete("resumed after a power cut");
        assert_eq!(stats.resumed_bytes, expected, "{fs}");
    }
}

/// Does something to an interrupted copy after which its record is worth nothing.
#[track_caller]
fn assert_void(scenario: &Scenario, what: &str) {
    let stats = scenario.complete(what);
    assert_eq!(stats.resumed_bytes, 0, "{what}");
}

#[test]
fn a_record_is_void_unless_it_speaks_of_these_two_files() {
    let mut points = Points::take();
    let mut again = || interrupted(&mut points, Fs::Ext4);
    let Some(scenario) = again() else { return };
    // Not what the record speaks of, though it has the size.
    let other = scenario.directory().join("other");
    Pattern::whole(vec![Block::Data(7); 6 * 256]).write(&other);
    std::fs::rename(&other, data(&scenario)).unwrap();
    assert_void(&scenario, "another file in place of the data");

    let scenario = again().unwrap();
    File::options().write(true).open(data(&scenario)).unwrap().set_len(JOB).unwrap();
    assert_void(&scenario, "data of another size");

    let scenario = again().unwrap();
    std::fs::write(record(&scenario), "{\"version\":2,").unwrap();
    assert_void(&scenario, "half a record");

    let scenario = again().unwrap();
    let text = std::fs::read_to_string(record(&scenario)).unwrap();
    let later = text.replace("\"version\":2", "\"version\":3");
    assert_ne!(later, text);
    std::fs::write(record(&scenario), later).unwrap();
    assert_void(&scenario, "a record of another version");

    let scenario = again().unwrap();
    let text = std::fs::read_to_string(record(&scenario)).unwrap();
    let more = text.replace(&done(DONE), &done(u64::MAX));
    assert_ne!(more, text);
    std::fs::write(record(&scenario), more).unwrap();
    assert_void(&scenario, "more done than there is");

    let mut scenario = again().unwrap();
    scenario.options.resume = false;
    let stats = scenario.complete("not asked to resume");
    assert_eq!((stats.resumed_bytes, stats.compared_bytes), (0, 0));
}

#[test]
fn a_record_is_void_once_the_source_has_changed() {
    let mut points = Points::take();
    let Some(mut scenario) = interrupted(&mut points, Fs::Ext4) else { return };
    // In what the record says is done.
    let file = File::options().write(true).open(&scenario.source).unwrap();
    file.write_all_at(b"changed", 100).unwrap();
    drop(file);
    scenario.reread_source();
    assert_void(&scenario, "changed in place");

    let mut scenario = interrupted(&mut points, Fs::Ext4).unwrap();
    let other = scenario.source.with_file_name("other");
    Pattern::whole(vec![Block::Data(8); 6 * 256]).write(&other);
    std::fs::rename(&other, &scenario.source).unwrap();
    scenario.reread_source();
    assert_void(&scenario, "another file");
}

#[test]
fn a_record_is_void_once_another_source_was_copied_there() {
    let mut points = Points::take();
    let Some(mut scenario) = interrupted(&mut points, Fs::Ext4) else { return };
    let (one, other) = (scenario.source.clone(), scenario.source.with_file_name("other"));
    Pattern::whole(vec![Block::Data(8); 6 * 256]).write(&other);
    scenario.source = other;
    points.checkpoints = NEVER;
    points.fail_at(&["image.write"; 4], 3, 5);
    // As if it had been killed there: it leaves no record of its own.
    points.fail_always("beside.write", 5);
    assert!(scenario.copy().is_err());
    points.clear();
    // The first source is what it was, and so is the file that holds what had arrived.
    scenario.source = one;
    assert_void(&scenario, "another source meanwhile");
}

/// Blocks the first thread that writes until a record has been made, and tells when it goes on.
fn hold_first_write(points: &Points, until: Receiver<()>) -> Arc<Mutex<Option<RecvTimeoutError>>> {
    let outcome = Arc::new(Mutex::new(None));
    let (until, seen) = (Mutex::new(until), outcome.clone());
    let writes = AtomicUsize::new(0);
    points.visit(move |name, _| {
        if name == "image.write" && writes.fetch_add(1, Ordering::SeqCst) == 0 {
            let waited = until.lock().unwrap().recv_timeout(2 * PATIENCE);
            *seen.lock().unwrap() = waited.err();
        }
    });
    outcome
}

#[test]
fn a_record_does_not_claim_what_another_thread_is_still_writing() {
    let mut points = Points::take();
    points.checkpoints = ALWAYS;
    let Some(mut scenario) = Scenario::new(Fs::Ext4, IoMode::Buffered, &source(), None) else {
        return;
    };
    scenario.prepare();
    scenario.options.threads = 2;
    let (cancel, (done, until)) = (Cancel::default(), channel());
    let waited = hold_first_write(&points, until);
    let progress = Progress::default();
    let stopped = std::thread::scope(|scope| {
        scope.spawn(|| {
            // All jobs but the one that is held.
            let start = Instant::now();
            while progress.written_bytes.get() < 5 * JOB && start.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(1));
            }
            cancel.cancel();
            scenario.mount.cut_power();
            done.send(()).unwrap();
        });
        copy(&scenario.source, &scenario.target, &scenario.options, &progress, &cancel)
    });
    points.clear();
    assert!(stopped.is_err());
    assert_eq!(*waited.lock().unwrap(), None);
    scenario.mount.remount();
    scenario.complete("one range was missing");
}

#[test]
fn a_copy_that_ran_out_of_space_goes_on_from_its_record() {
    let mut points = Points::take();
    points.checkpoints = ALWAYS;
    let Some(from) = Mount::new(Fs::Ext4) else { return };
    let options = MountOptions { size_mib: 24, ..MountOptions::default() };
    let Some(to) = Mount::with(Fs::Ext4, &options) else { return };
    let (path, target) = (from.path().join("source"), to.path().join("target"));
    source().write(&path);
    let filler = File::create(to.path().join("filler")).unwrap();
    let space = fstatvfs(&filler).unwrap();
    let all_but = space.f_bavail * space.f_frsize - 3 * JOB;
    fallocate(&filler, FallocateFlags::empty(), 0, all_but).unwrap();
    points.visit(|_, _| {});
    let options = CopyOptions { threads: 1, io: IoMode::Direct, ..CopyOptions::default() };
    let run = || copy(&path, &target, &options, &Progress::default(), &Cancel::default());
    let full = run().unwrap_err();
    points.clear();
    assert_eq!(full.cause.io_kind(), Some(std::io::ErrorKind::StorageFull), "{full:?}");
    filler.set_len(0).unwrap();
    syncfs(&filler).unwrap();
    let stats = run().unwrap();
    assert!(stats.resumed_bytes >= JOB, "{stats:?}");
    Content::of(&target).assert_is(&Content::of(&path), "after there was room");
    assert_eq!(names(to.path()), ["filler", "lost+found", "target"]);
}
