//! A cancelled sync of the original could look like a success, and the end of an image could be
//! left out.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lacuna::Cancel;
use lacuna_sync::v1::{self, SyncOptions};
use lacuna_sync::{Error, Result};
use lacuna_testing::mount::{Fs, Mount};
use rustix::fs::{FallocateFlags, fallocate};

use super::{BLOCK, assert_next_session_completes, disk, old_disk, place};
use crate::image::{Beside, assert_same, assert_tidy};
use crate::options;
use crate::original::{Original, Reaction};
use crate::relay::{Fate, Relay};
use crate::server::{Server, opened, quiet_port, session};

/// Much more than it takes to stop, and less than any time-out.
const SOON: Duration = Duration::from_secs(15);

fn sync(source: &Path, address: &str, options: &SyncOptions, cancel: &Cancel) -> Result<()> {
    v1::sync(opened(source)?, address, options, &Arc::default(), cancel).map(drop)
}

#[track_caller]
fn assert_cancelled(result: Result<()>, since: Instant) {
    let error = result.expect_err("a cancelled sync");
    assert!(error.is_cancelled(), "{error:?}");
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
}

#[test]
fn a_sync_that_is_cancelled_in_the_middle_says_so_and_leaves_the_target_unfinished() {
    for existing in [false, true] {
        let (_source_directory, source) = place();
        let (_directory, target) = place();
        std::fs::write(&source, vec![7; 8 << 20]).unwrap();
        if existing {
            std::fs::write(&target, vec![8; 8 << 20]).unwrap();
        }
        let server = Server::of(&target);
        let cancel = Cancel::default();
        let stop = cancel.clone();
        // What was in flight does not arrive; connections that are new after that work.
        let newest = AtomicUsize::new(0);
        let relay = Relay::to(&server.address, move |piece| {
            if !stop.is_cancelled() {
                newest.fetch_max(piece.connection, Ordering::SeqCst);
            }
            if piece.total >= 2 << 20 {
                stop.cancel();
            }
            match stop.is_cancelled() && piece.connection <= newest.load(Ordering::SeqCst) {
                true => Fate::Lose,
                false => Fate::Pass,
            }
        });
        let begun = Instant::now();
        assert_cancelled(sync(&source, &relay.address, &options(), &cancel), begun);
        assert!(matches!(server.failed(), Error::GivenUp { .. }));
        let left = Beside { data: !existing, unfinished: existing, others: vec![] };
        assert_eq!(Beside::of(&target), left);
        assert_next_session_completes(&target);
    }
}

#[test]
fn a_sync_that_waits_is_cancelled_at_once() {
    let (_directory, source) = place();
    disk().write(&source);
    let patient = SyncOptions {
        connect_timeout: Duration::from_secs(300),
        request_timeout: Duration::from_secs(300),
        close_timeout: Duration::from_secs(300),
        retries: 9,
        ..options()
    };
    for (name, reaction) in [
        ("open", Reaction::Ignore),
        ("open", Reaction::HangUp),
        ("open", Reaction::Refuse(503, "later")),
        ("sendHole", Reaction::Ignore),
        ("writeData", Reaction::Ignore),
        ("writeData", Reaction::HangUp),
        ("writeData", Reaction::Refuse(500, "later")),
        ("close", Reaction::Ignore),
    ] {
        let cancel = Cancel::default();
        let stop = cancel.clone();
        let original = Original::reacting(None, None, move |seen| {
            if seen.name() != name {
                return Reaction::Obey;
            }
            stop.cancel();
            reaction
        });
        let begun = Instant::now();
        assert_cancelled(sync(&source, &original.address, &patient, &cancel), begun);
    }
}

#[test]
fn a_sync_that_nobody_answers_is_cancelled_at_once() {
    let (_directory, source) = place();
    disk().write(&source);
    let (_held, address) = quiet_port();
    let cancel = Cancel::default();
    let stop = cancel.clone();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        stop.cancel();
    });
    let patient = SyncOptions { connect_timeout: Duration::from_secs(300), ..options() };
    let begun = Instant::now();
    assert_cancelled(sync(&source, &address, &patient, &cancel), begun);
    stopper.join().unwrap();
}

#[test]
fn a_server_that_is_cancelled_leaves_its_target_unfinished() {
    let (_directory, target) = place();
    old_disk().write(&target);
    let server = Server::of(&target);
    let mut http = server.dial();
    http.open(6 * BLOCK, false);
    http.write(0, BLOCK, &disk().bytes()[..BLOCK as usize]);
    let begun = Instant::now();
    assert!(server.stopped().unwrap_err().is_cancelled());
    assert!(begun.elapsed() < SOON);
    assert_eq!(Beside::of(&target), Beside { unfinished: true, ..Beside::default() });
    assert_next_session_completes(&target);
}

/// A source, in words and how it is made.
type Source = (&'static str, fn(&File));

/// Sources whose end is hard to see.
const ENDS: [Source; 6] = [
    ("data, then a hole", |file| {
        file.set_len(40 * BLOCK).unwrap();
        file.write_all_at(&[7; 4096], 0).unwrap();
    }),
    ("preallocated past the end", |file| {
        file.write_all_at(&[7; 3 * 4096], 0).unwrap();
        fallocate(file, FallocateFlags::KEEP_SIZE, 3 * BLOCK, 64 * BLOCK).unwrap();
    }),
    ("a hole, then preallocated past the end", |file| {
        file.set_len(8 * BLOCK).unwrap();
        file.write_all_at(&[7; 4096], BLOCK).unwrap();
        fallocate(file, FallocateFlags::KEEP_SIZE, 9 * BLOCK, 64 * BLOCK).unwrap();
    }),
    ("unwritten to beyond the end", |file| {
        file.set_len(5 * BLOCK + 1).unwrap();
        fallocate(file, FallocateFlags::KEEP_SIZE, 2 * BLOCK, 64 * BLOCK).unwrap();
        file.write_all_at(&[7], 5 * BLOCK).unwrap();
    }),
    ("one byte behind a hole", |file| {
        file.write_all_at(&[7], 5000 * BLOCK).unwrap();
    }),
    ("more extents than are mapped at once", |file| {
        for block in 0..2100 {
            file.write_all_at(&[7; 100], 2 * block * BLOCK).unwrap();
        }
        file.write_all_at(b"the end", 4200 * BLOCK).unwrap();
    }),
];

#[test]
fn a_source_arrives_to_its_last_byte_whatever_its_layout_ends_with() {
    for mount in Fs::ALL.into_iter().filter_map(Mount::new) {
        let (source, target) = (mount.path().join("source"), mount.path().join("target"));
        for (what, make) in ENDS {
            let file = OpenOptions::new().write(true).create_new(true).open(&source).unwrap();
            make(&file);
            file.sync_all().unwrap();
            for existing in [false, true] {
                let (synced, served) = session(&source, &target, &options());
                synced.expect(what);
                served.expect(what);
                assert_same(&source, &target);
                assert_tidy(&target);
                if existing {
                    std::fs::remove_file(&target).unwrap();
                } else {
                    std::fs::write(&target, vec![9; 70 * 4096]).unwrap();
                }
            }
            std::fs::remove_file(&source).unwrap();
        }
    }
}
