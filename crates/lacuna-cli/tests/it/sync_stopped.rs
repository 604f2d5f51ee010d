//! Syncs that do not come to their end, and the one after them.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Pattern};
use rustix::process::Signal;

use crate::common::{PATIENCE, expect, handles, json, lacuna, names, sample, text};

/// A source that takes a moment, and a sync of it that has begun to write and was sent `signal`.
pub(crate) fn interrupted(directory: &Path, signal: Signal) -> (PathBuf, PathBuf, Output) {
    let (source, target) = (directory.join("a.img"), directory.join("b.img"));
    let file = std::fs::File::create(&source).unwrap();
    let mut bytes = vec![0; 4 << 20];
    for n in 0..100_u64 {
        bytes.fill(n as u8 + 1);
        file.write_all_at(&bytes, n * (4 << 20)).unwrap();
    }
    file.sync_all().unwrap();
    let data = directory.join(".b.img.lacuna-data");
    let begun = |data: &Path| data.metadata().is_ok_and(|data| data.blocks() * 512 > 8 << 20);
    for _ in 0..10 {
        let child = lacuna()
            .args(["sync", "--jobs", "1"])
            .args([&source, &target])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while !begun(&data) && !target.exists() {
            assert!(start.elapsed() < PATIENCE, "nothing is written");
            std::thread::sleep(Duration::from_millis(1));
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        if !output.status.success() {
            return (source, target, output);
        }
        std::fs::remove_file(&target).unwrap();
    }
    panic!("the sync was always faster than the signal");
}

#[test]
fn a_killed_sync_leaves_no_target_and_is_completed_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target, _) = interrupted(directory.path(), Signal::KILL);
    assert!(!target.exists());
    expect(&lacuna().arg("sync").args([&source, &target]).output().unwrap(), 0);
    assert!(std::fs::read(&source).unwrap() == std::fs::read(&target).unwrap());
    assert_eq!(names(directory.path()), ["a.img", "b.img"]);
}

#[test]
fn a_sync_that_is_told_to_stop_keeps_what_it_has_done() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target, output) = interrupted(directory.path(), Signal::TERM);
    let (_, err) = expect(&output, 1);
    assert!(err.contains("are kept in") && err.contains(".b.img.lacuna-data"), "{err}");
    let words = format!("{} to {} was stopped by a signal", source.display(), target.display());
    assert!(err.contains(&words), "{err}");
    assert!(!target.exists());
    let mut dry_run = lacuna();
    dry_run.args(["sync", "--json", "--dry-run"]).args([&source, &target]);
    let plan = json(&expect(&dry_run.output().unwrap(), 0).0);
    let resumed_bytes = plan["resumed_bytes"].as_u64().unwrap();
    assert!(resumed_bytes >= 8 << 20, "{plan}");
    assert_eq!(plan["read_bytes"].as_u64(), Some((400 << 20) - resumed_bytes));
    let again = lacuna().args(["sync", "--json"]).args([&source, &target]).output().unwrap();
    let report = json(&expect(&again, 0).0);
    assert_eq!(report["resumed_bytes"], resumed_bytes, "{report}");
    assert!(std::fs::read(&source).unwrap() == std::fs::read(&target).unwrap());
}

/// Here, until it may not have the lock that it tries to get.
#[test]
fn a_command_that_takes_a_while_to_stop_says_that_it_will() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    sample().write(&source);
    let held = std::fs::File::open(&source).unwrap();
    held.lock().unwrap();
    let mut sync = lacuna();
    let child = sync.arg("sync").args([&source, &target]).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while !handles(child.id(), Signal::TERM) {
        assert!(start.elapsed() < PATIENCE, "no signal is handled");
        std::thread::sleep(Duration::from_millis(1));
    }
    // The thread that says so is told of signals a little later.
    std::thread::sleep(Duration::from_millis(200));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let err = text(&child.wait_with_output().unwrap().stderr);
    assert!(err.contains("stopping; again to stop at once\n"), "{err}");
}

#[test]
fn no_resume_begins_again() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target, _) = interrupted(directory.path(), Signal::TERM);
    let sync = |more: &[&str]| {
        let mut sync = lacuna();
        sync.args(["sync", "--json", "--no-resume"]).args(more).args([&source, &target]);
        json(&expect(&sync.output().unwrap(), 0).0)
    };
    let planned = sync(&["--dry-run"]);
    let report = sync(&[]);
    for told in [planned, report] {
        assert_eq!((&told["resumed_bytes"], &told["compared_bytes"]), (&0.into(), &0.into()));
        assert_eq!(told["read_bytes"], 400 << 20);
    }
    assert!(std::fs::read(&source).unwrap() == std::fs::read(&target).unwrap());
}

#[test]
fn an_interrupted_sync_stops_at_once_and_says_how_to_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("a.img");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    sample().write(&source);
    // A peer that takes the connection and never answers.
    let url = format!("ssync://{}", listener.local_addr().unwrap());
    let child = lacuna()
        .arg("sync")
        .arg(&source)
        .arg(&url)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (_peer, _) = listener.accept().unwrap();
    let begun = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(output.status.code(), Some(1));
    let err = text(&output.stderr);
    let words = format!("sync of {} to {url} was stopped by a signal", source.display());
    assert!(err.contains(&words), "{err}");
    let remedy = "start the server again, then run the same command: it compares and goes on";
    assert!(err.contains(remedy), "{err}");
}

#[test]
fn a_full_disk_keeps_what_came_and_the_second_run_completes() {
    let options = MountOptions { size_mib: 64, ..MountOptions::default() };
    let Some(small) = Mount::with(Fs::Ext4, &options) else { return };
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("a.img");
    let pattern = Pattern::whole(vec![Block::Data(3); 8192]);
    pattern.write(&source);
    let filler = small.path().join("filler");
    std::fs::write(&filler, vec![1; 40 << 20]).unwrap();
    let target = small.path().join("b.img");
    let sync = || lacuna().arg("sync").args([&source, &target]).output().unwrap();
    let (_, err) = expect(&sync(), 1);
    assert!(err.contains("no space left on device"), "{err}");
    assert!(!target.exists());
    std::fs::remove_file(&filler).unwrap();
    expect(&sync(), 0);
    assert_eq!(std::fs::read(&target).unwrap(), pattern.bytes());
    assert_eq!(names(small.path()), ["b.img", "lost+found"]);
}
