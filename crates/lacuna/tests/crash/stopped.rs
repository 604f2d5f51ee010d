//! A copy that is cancelled, or whose source or target is changed by others under its hands.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lacuna::{Cancel, Error, IoMode, Progress, Stopped};
use lacuna_testing::mount::Fs;

use crate::paths::copy;
use crate::points::Points;
use crate::scenario::{Scenario, longer, names, shorter, source};

/// Does `action` when the copy is about to write for the third time.
fn amid_writing(points: &Points, action: impl Fn() + Send + Sync + 'static) {
    let writes = AtomicUsize::new(0);
    points.visit(move |name, _| {
        if name == "image.write" && writes.fetch_add(1, Ordering::SeqCst) == 2 {
            action();
        }
    });
}

fn scenarios() -> impl Iterator<Item = Scenario> {
    let olds = [None, Some(shorter()), Some(longer())];
    let made = olds.into_iter().map(|old| Scenario::new(Fs::Ext4, IoMode::Auto, &source(), old));
    made.flatten().map(|mut scenario| {
        scenario.prepare();
        scenario
    })
}

#[test]
fn a_copy_stops_soon_after_another_thread_cancels_it() {
    let points = Points::take();
    for scenario in scenarios() {
        let cancel = Cancel::default();
        let (reached, writing) = channel();
        let (cancelled, go_on) = channel();
        let go_on = Mutex::new(go_on);
        amid_writing(&points, move || {
            reached.send(()).unwrap();
            go_on.lock().unwrap().recv().unwrap();
        });
        let at = std::thread::scope(|scope| {
            let stop = cancel.clone();
            let canceller = scope.spawn(move || {
                writing.recv().unwrap();
                stop.cancel();
                cancelled.send(()).unwrap();
                Instant::now()
            });
            let progress = Progress::default();
            let stopped =
                copy(&scenario.source, &scenario.target, &scenario.options, &progress, &cancel);
            assert!(matches!(stopped, Err(Stopped { cause: Error::Cancelled, .. })), "{stopped:?}");
            scenario.check(&stopped.map_err(|stopped| stopped.cause), "cancelled");
            canceller.join().unwrap()
        });
        assert!(at.elapsed() < Duration::from_secs(5));
        points.clear();
        scenario.complete("cancelled");
    }
}

#[test]
fn a_copy_that_was_cancelled_beforehand_writes_nothing() {
    let _points = Points::take();
    for scenario in scenarios() {
        let cancel = Cancel::default();
        cancel.cancel();
        let progress = Progress::default();
        let stopped =
            copy(&scenario.source, &scenario.target, &scenario.options, &progress, &cancel);
        assert!(matches!(stopped, Err(Stopped { cause: Error::Cancelled, .. })), "{stopped:?}");
        assert_eq!(progress.written_bytes.get(), 0);
        scenario.check(&stopped.map_err(|stopped| stopped.cause), "cancelled");
        scenario.complete("cancelled");
    }
}

#[test]
fn a_source_that_changes_while_it_is_read_fails_the_copy() {
    let points = Points::take();
    for mut scenario in scenarios() {
        let path = scenario.source.clone();
        amid_writing(&points, move || {
            let file = File::options().write(true).open(&path).unwrap();
            file.write_all_at(b"changed", 0).unwrap();
        });
        let failed = scenario.copy();
        points.clear();
        let Err(Error::Changed { path }) = &failed else { panic!("{failed:?}") };
        assert_eq!(path, &scenario.source);
        scenario.check(&failed, "the source changed");
        scenario.reread_source();
        scenario.complete("the source changed");
    }
}

#[test]
fn a_target_that_appears_meanwhile_is_not_replaced() {
    let points = Points::take();
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Btrfs, Fs::Tmpfs] {
        let Some(mut scenario) = Scenario::new(fs, IoMode::Auto, &source(), None) else { continue };
        scenario.prepare();
        let path = scenario.target.clone();
        points.visit(move |name, _| {
            if name == "target.rename" {
                std::fs::write(&path, "of someone else").unwrap();
            }
        });
        let error = scenario.copy().unwrap_err();
        points.clear();
        assert_eq!(error.io_kind(), Some(std::io::ErrorKind::AlreadyExists), "{error:?}");
        assert_eq!(std::fs::read(&scenario.target).unwrap(), b"of someone else", "{fs}");
        // The copy is kept, and gets the name when that is free.
        std::fs::remove_file(&scenario.target).unwrap();
        scenario.complete("the name was taken");
    }
}

#[test]
fn two_copies_to_one_target_do_not_meet() {
    let points = Points::take();
    for scenario in scenarios() {
        let (source, target) = (scenario.source.clone(), scenario.target.clone());
        let options = scenario.options;
        let second = Arc::new(Mutex::new(None));
        let result = second.clone();
        amid_writing(&points, move || {
            let (progress, cancel) = (Progress::default(), Cancel::default());
            *result.lock().unwrap() = copy(&source, &target, &options, &progress, &cancel).err();
        });
        let first = scenario.copy();
        points.clear();
        scenario.check(&first, "the first of two");
        let second = second.lock().unwrap();
        assert!(matches!(*second, Some(Stopped { cause: Error::Busy { .. }, .. })), "{second:?}");
    }
}

#[test]
fn a_checksum_is_gone_and_the_mark_is_there_before_the_first_write() {
    let points = Points::take();
    for mut scenario in scenarios() {
        let directory = scenario.directory().to_owned();
        let seen = Arc::new(Mutex::new(vec![]));
        let at_write = seen.clone();
        points.visit(move |name, _| {
            if name.starts_with("image.") && name != "image.sync" {
                at_write.lock().unwrap().push(names(&directory));
            }
        });
        scenario.copy().unwrap();
        points.clear();
        let seen = seen.lock().unwrap();
        assert!(!seen.is_empty());
        for names in &*seen {
            let new = names.contains(&".target.lacuna-data".to_owned());
            let expected = match new {
                true => vec![".target.lacuna-data", "target.checksum"],
                false => vec![".target.lacuna-unfinished", "target"],
            };
            assert_eq!(*names, expected);
        }
        scenario.prepare();
    }
}

#[test]
fn a_copy_does_not_vouch_for_a_file_that_took_the_place_of_its_own() {
    let points = Points::take();
    for scenario in scenarios() {
        let written = match scenario.target.exists() {
            true => scenario.target.clone(),
            false => scenario.directory().join(".target.lacuna-data"),
        };
        let other = scenario.directory().join("other");
        std::fs::write(&other, "something else").unwrap();
        let moved = Mutex::new(false);
        amid_writing(&points, move || {
            let mut moved = moved.lock().unwrap();
            if !std::mem::replace(&mut *moved, true) {
                std::fs::rename(&other, &written).unwrap();
            }
        });
        let stopped = scenario.copy();
        points.clear();
        assert!(matches!(stopped, Err(Error::Replaced { .. })), "{stopped:?}");
    }
}
