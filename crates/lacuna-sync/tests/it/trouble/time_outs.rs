//! Clients that are slow or silent, on a server whose time-outs are short.

use std::time::{Duration, Instant};

use lacuna_sync::Error;
use lacuna_sync::v1::{ServeOptions, SyncOptions};

use super::{SOON, assert_soon, place, put_source};
use crate::http::{Http, ranged};
use crate::image::{assert_same, assert_tidy, bytes_of, data_of};
use crate::options;
use crate::relay::{Fate, Relay};
use crate::server::{Server, sync};

const SHORT: Duration = Duration::from_millis(300);

/// Waits until the server has closed the connection, which it does without an answer.
#[track_caller]
fn assert_closed(http: &mut Http, since: Instant) {
    let error = http.answer().expect_err("a closed connection");
    let timed_out = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
    assert!(!timed_out.contains(&error.kind()), "{error}");
    assert_soon(since);
}

#[test]
fn a_connection_without_a_whole_request_is_dropped() {
    let (_directory, target) = place();
    let server = Server::with(&target, &ServeOptions { keep_alive: SHORT, ..Default::default() });
    let begun = Instant::now();
    let silent = server.dial();
    let mut halting = server.dial();
    halting.send(b"GET /v1-ssync/open?begin=0&directIO=fa");
    let mut used = server.dial();
    assert_eq!(used.metadata().status, 404);
    for mut http in [silent, halting, used] {
        assert_closed(&mut http, begun);
    }
    assert_eq!(server.dial().open(0, false).status, 200);
}

/// Bytes that come one by one, each in time, do not make a request that takes for ever.
#[test]
fn a_head_that_trickles_in_is_dropped() {
    let (_directory, target) = place();
    let server = Server::with(&target, &ServeOptions { keep_alive: SHORT, ..Default::default() });
    let begun = Instant::now();
    let mut http = server.dial();
    http.stream().set_read_timeout(Some(Duration::from_millis(30))).unwrap();
    http.send(b"GET /v1-ssync/open HTTP/1.1\r\nX-Long: ");
    let mut answer = http.answer();
    while answer.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock) {
        assert!(begun.elapsed() < SOON, "it is still being waited for");
        http.send(b"x");
        answer = http.answer();
    }
    answer.expect_err("a closed connection");
}

#[test]
fn connections_that_say_nothing_do_not_keep_others_out_for_ever() {
    let (_directory, target) = place();
    let options = ServeOptions { keep_alive: SHORT, connections: 4, ..Default::default() };
    let server = Server::with(&target, &options);
    let silent: Vec<_> = (0..20).map(|_| server.dial()).collect();
    let begun = Instant::now();
    assert_eq!(server.dial().open(4096, false).status, 200);
    assert_soon(begun);
    drop(silent);
}

#[test]
fn a_body_that_stops_is_given_up_and_its_range_is_missing() {
    let (_directory, target) = place();
    let server = Server::with(&target, &ServeOptions { stall: SHORT, ..Default::default() });
    let mut http = server.dial();
    http.open(8192, false);
    http.write(0, 8192, &[7; 8192]);
    let begun = Instant::now();
    let mut stalled = server.dial();
    stalled.begin("POST", &ranged("writeData", 4096, 8192), 4096);
    stalled.send(&[8; 4095]);
    let answer = stalled.answer().unwrap();
    assert_eq!(answer.status, 408, "{}", answer.text());
    assert_soon(begun);
    assert_eq!(bytes_of(&data_of(&target)), [7; 8192]);
    let answer = server.dial().close("");
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("bytes 4096..8192 missing"), "{}", answer.text());
    assert!(matches!(server.failed(), Error::Incomplete { .. }));
}

/// Bytes that come one by one, each in time, do not make a body that takes for ever, be it wanted or
/// refused.
#[test]
fn a_body_that_trickles_in_is_given_up() {
    let (_directory, target) = place();
    let server = Server::with(&target, &ServeOptions { stall: SHORT, ..Default::default() });
    server.dial().open(4096, false);
    for (target, status) in
        [(ranged("writeData", 0, 4096), 408), (ranged("writeData", 4096, 0), 400)]
    {
        let begun = Instant::now();
        let mut http = server.dial();
        http.stream().set_read_timeout(Some(Duration::from_millis(30))).unwrap();
        http.send_head("POST", &target, 4096);
        let answer = loop {
            match http.answer() {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => http.send(b"x"),
                answer => break answer.expect("an answer"),
            }
            assert!(begun.elapsed() < SOON, "it is still being waited for");
        };
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

/// Eight that stall take all the room there is for bodies; others have their turn afterwards.
#[test]
fn bodies_that_stop_do_not_keep_others_out_for_ever() {
    let (_directory, target) = place();
    let server = Server::with(&target, &ServeOptions { stall: SHORT, ..Default::default() });
    let mut http = server.dial();
    http.open(4096, false);
    let mut stalled: Vec<_> = (0..20).map(|_| server.dial()).collect();
    for http in &mut stalled {
        http.announce("POST", &ranged("writeData", 0, 4096), 4096);
    }
    let begun = Instant::now();
    while http.write(0, 4096, &[7; 4096]).status != 200 {
        assert_soon(begun);
    }
    drop(stalled);
}

/// The client's first connection has nothing to do while the others send.
#[test]
fn a_connection_that_was_dropped_for_being_idle_does_not_keep_the_client_from_closing() {
    let (_source_directory, source) = put_source();
    let (_directory, target) = place();
    let server = Server::with(&target, &ServeOptions { keep_alive: SHORT, ..Default::default() });
    let relay = Relay::to(&server.address, |piece| {
        // Three seconds, about.
        if piece.length > 4096 {
            std::thread::sleep(Duration::from_millis(100));
        }
        Fate::Pass
    });
    let options = SyncOptions { in_flight: 1, ..options() };
    sync(&source, &relay.address, &options).unwrap();
    server.ended().unwrap();
    assert_same(&source, &target);
    assert_tidy(&target);
}

#[test]
fn a_request_in_progress_is_not_idle() {
    let (_directory, target) = place();
    let idle = Duration::from_secs(2);
    let server = Server::with(&target, &ServeOptions { idle, ..Default::default() });
    let mut slow = server.dial();
    slow.open(4096, false);
    slow.begin("POST", &ranged("writeData", 0, 4096), 4096);
    std::thread::sleep(idle + idle / 2);
    slow.send(&[7; 4096]);
    assert_eq!(slow.answer().unwrap().status, 200);
    assert_eq!(slow.close("").status, 200);
    server.ended().unwrap();
    assert_eq!(bytes_of(&target), [7; 4096]);
    assert_tidy(&target);
}
