//! Requests that fail now and then.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lacuna_sync::Error;
use lacuna_sync::v1::SyncOptions;

use super::{disk, put_source, words};
use crate::image::record;
use crate::options;
use crate::original::{Image, Original, Reaction};
use crate::server::sync;

/// A server that reacts in this way to the first requests of this name.
fn failing(name: &'static str, reaction: Reaction, times: usize) -> Original {
    let seen_so_far = AtomicUsize::new(0);
    let image = (name == "getChecksum").then(|| Image::of(&disk()));
    Original::reacting(image, None, move |seen| {
        match seen.name() == name && seen_so_far.fetch_add(1, Ordering::SeqCst) < times {
            true => reaction,
            false => Reaction::Obey,
        }
    })
}

fn with_retries(retries: u32) -> SyncOptions {
    SyncOptions {
        retries,
        request_timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        ..options()
    }
}

/// Syncs, and fails unless the image arrives although a request failed once or more.
fn assert_overcome(name: &'static str, reaction: Reaction, times: usize) {
    let (_directory, source) = put_source();
    let original = failing(name, reaction, times);
    let synced = sync(&source, &original.address, &with_retries(times as u32));
    synced.unwrap_or_else(|error| panic!("{name} {reaction:?}: {}", words(&error)));
    assert!(original.image().unwrap().bytes == disk().bytes(), "{name} {reaction:?}");
    assert_eq!(original.seen().last().unwrap().name(), "close");
    assert_eq!(original.count("close"), 1);
}

/// All at once, for each pauses for seconds.
#[test]
fn a_request_that_fails_is_tried_again_until_it_succeeds() {
    let mut cases = vec![("writeData", Reaction::Refuse(500, "later"), 2)];
    for name in ["open", "sendHole", "getChecksum", "writeData"] {
        cases.push((name, Reaction::Refuse(503, "later"), 1));
        cases.push((name, Reaction::Refuse(429, "later"), 1));
        if name != "sendHole" {
            cases.push((name, Reaction::HangUp, 1));
            cases.push((name, Reaction::ObeyAndHangUp, 1));
        }
    }
    std::thread::scope(|scope| {
        for (name, reaction, times) in cases {
            scope.spawn(move || assert_overcome(name, reaction, times));
        }
    });
}

#[test]
fn a_refusal_of_the_request_itself_is_not_tried_again() {
    for status in [300, 301, 400, 404, 409, 413, 499] {
        let (_directory, source) = put_source();
        let original = failing("sendHole", Reaction::Refuse(status, "never"), usize::MAX);
        let begun = Instant::now();
        let error = sync(&source, &original.address, &with_retries(9)).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        assert!(words(&error).contains(&status.to_string()), "{}", words(&error));
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(original.count("sendHole"), 1);
    }
}

#[test]
fn without_retries_the_first_failure_is_the_last() {
    for reaction in [Reaction::Refuse(500, "later"), Reaction::Refuse(429, "later")] {
        let (_directory, source) = put_source();
        let original = failing("sendHole", reaction, usize::MAX);
        sync(&source, &original.address, &with_retries(0)).unwrap_err();
        assert_eq!(original.count("sendHole"), 1);
    }
}

#[test]
fn the_last_failure_says_how_many_tries_there_were() {
    let (_directory, source) = put_source();
    let original = failing("writeData", Reaction::Refuse(503, "later"), usize::MAX);
    let error = sync(&source, &original.address, &with_retries(1)).unwrap_err();
    let words = words(&error);
    assert!(words.starts_with("given up after 2 tries: "), "{words}");
    assert!(words.contains("refused writeData with status 503: later"), "{words}");
}

/// `close` ends a server: once it may have come, nobody is left to be asked again.
#[test]
fn close_is_tried_once() {
    let (_directory, source) = put_source();
    let original = failing("close", Reaction::Refuse(500, "fsync: input/output error"), usize::MAX);
    let error = sync(&source, &original.address, &with_retries(9)).unwrap_err();
    assert!(words(&error).contains("input/output error"), "{}", words(&error));
    assert_eq!(original.count("close"), 1);
}

/// A server may drop an idle connection at the moment when it is used again.
#[test]
fn a_connection_that_was_dropped_in_between_is_dialled_again() {
    let (_directory, source) = put_source();
    let original = failing("open", Reaction::HangUp, 1);
    record(&source);
    sync(&source, &original.address, &with_retries(0)).unwrap();
    assert_eq!((original.count("getRecordedMetadata"), original.count("open")), (1, 2));
}

/// A fresh target is one hole at first. Said twice, and heard the second time when the data is there,
/// it would be one hole at last.
#[test]
fn the_hole_over_a_fresh_target_is_never_sent_twice() {
    for (reaction, retries) in
        [(Reaction::HangUp, 0), (Reaction::HangUp, 9), (Reaction::ObeyAndHangUp, 9)]
    {
        let (_directory, source) = put_source();
        let original = failing("sendHole", reaction, 1);
        let error = sync(&source, &original.address, &with_retries(retries)).unwrap_err();
        assert!(matches!(error, Error::Transport { request: "sendHole", .. }), "{error:?}");
        assert_eq!(original.count("sendHole"), 1);
    }
}
