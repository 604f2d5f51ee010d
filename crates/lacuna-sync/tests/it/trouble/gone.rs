//! Peers that go away in the middle.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lacuna_sync::Error;
use lacuna_sync::v1::{ServeOptions, SyncOptions};

use super::{assert_next_session_completes, assert_soon, disk, place, put_source, words};
use crate::image::{Beside, assert_same, assert_tidy, assert_vouched, checksum_of, record};
use crate::options;
use crate::process::ServerProcess;
use crate::relay::{Fate, Relay};
use crate::server::{Server, sync};

/// Bytes after which the line is lost: more than one request, less than the image.
const SOME: usize = 1 << 20;

/// One request at a time, so that what was sent before the last of them has arrived.
fn one_by_one() -> SyncOptions {
    SyncOptions { in_flight: 1, ..options() }
}

fn old(existing: bool, target: &Path) {
    if existing {
        std::fs::write(target, vec![9; disk().size as usize]).unwrap();
        record(target);
    }
}

fn left(existing: bool) -> Beside {
    Beside { data: !existing, unfinished: existing, others: vec![] }
}

#[test]
fn a_server_that_is_killed_in_the_middle_leaves_an_unfinished_target() {
    let (_source_directory, source) = put_source();
    record(&source);
    for existing in [false, true] {
        let (_directory, target) = place();
        old(existing, &target);
        let server = Mutex::new(ServerProcess::of(&target));
        let address = server.lock().unwrap().address.clone();
        let relay = Relay::to(&address, move |piece| {
            if piece.total < SOME {
                return Fate::Pass;
            }
            server.lock().unwrap().kill();
            // Its port may be another's by now.
            Fate::Cut
        });
        let begun = Instant::now();
        let error = sync(&source, &relay.address, &one_by_one()).unwrap_err();
        assert_soon(begun);
        assert!(matches!(error, Error::Transport { .. }), "{error:?}");
        assert_eq!(Beside::of(&target), left(existing));
        assert_eq!(target.exists(), existing);
        assert!(!checksum_of(&target).exists());
        assert_next_session_completes(&source, &target);
        assert_vouched(&target);
    }
}

#[test]
fn a_connection_that_is_cut_fails_the_session_on_both_sides() {
    let (_source_directory, source) = put_source();
    for existing in [false, true] {
        let (_directory, target) = place();
        old(existing, &target);
        let server = Server::of(&target);
        // Data is lost, however often it is sent; small requests still pass.
        let relay =
            Relay::to(&server.address, |piece| match piece.total >= SOME && piece.length > 4096 {
                true => Fate::Cut,
                false => Fate::Pass,
            });
        let error = sync(&source, &relay.address, &one_by_one()).unwrap_err();
        assert!(matches!(error, Error::Transport { .. }), "{error:?}");
        let error = server.failed();
        assert!(matches!(error, Error::GivenUp { .. }), "{error:?}");
        assert_eq!(Beside::of(&target), left(existing));
        assert_next_session_completes(&source, &target);
    }
}

/// A line that is cut, for good, when some of the image has gone over it.
fn cut_after_some(server: &Server) -> Relay {
    let lost = AtomicBool::new(false);
    Relay::to(&server.address, move |piece| {
        lost.fetch_or(piece.total >= SOME, Ordering::SeqCst);
        match lost.load(Ordering::SeqCst) {
            true => Fate::Cut,
            false => Fate::Pass,
        }
    })
}

/// A client that vanishes without a word: its machine lost power, or the cable was pulled.
#[test]
fn a_server_whose_client_vanished_ends_when_it_has_been_idle() {
    let (_source_directory, source) = put_source();
    for existing in [false, true] {
        let (_directory, target) = place();
        old(existing, &target);
        let idle = Duration::from_secs(2);
        let stall = Duration::from_millis(500);
        let server = Server::with(&target, &ServeOptions { idle, stall, ..Default::default() });
        let relay = cut_after_some(&server);
        sync(&source, &relay.address, &one_by_one()).unwrap_err();
        let error = server.failed();
        assert!(matches!(error, Error::Idle { .. }), "{error:?}");
        let kept = if existing { "is marked unfinished" } else { "is kept in" };
        assert!(words(&error).contains(kept), "{}", words(&error));
        assert_eq!(Beside::of(&target), left(existing));
        assert!(!checksum_of(&target).exists());
        assert_next_session_completes(&source, &target);
    }
}

#[test]
fn a_second_client_completes_what_a_first_one_began_on_the_same_server() {
    let (_source_directory, source) = put_source();
    record(&source);
    for existing in [false, true] {
        let (_directory, target) = place();
        old(existing, &target);
        let server = Server::of(&target);
        let relay = cut_after_some(&server);
        sync(&source, &relay.address, &one_by_one()).unwrap_err();
        sync(&source, &server.address, &options()).unwrap();
        server.ended().unwrap();
        assert_same(&source, &target);
        assert_vouched(&target);
        assert_tidy(&target);
    }
}

#[test]
fn a_server_that_nobody_opens_ends_when_it_has_been_idle() {
    let (_directory, target) = place();
    let idle = Duration::from_millis(300);
    let server = Server::with(&target, &ServeOptions { idle, ..Default::default() });
    let error = server.failed();
    assert!(matches!(error, Error::Idle { .. }), "{error:?}");
    assert!(words(&error).contains("nothing had been opened"), "{}", words(&error));
    assert!(!target.exists());
}
