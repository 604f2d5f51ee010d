//! The original answered `close` before its work was done, and took requests at any time.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::{BLOCK, disk, old_disk, part, place};
use crate::http::{closing, ranged};
use crate::image::{
    Beside, assert_tidy, assert_vouched, bytes_of, checksum_of, crc64, ctime, record,
};
use crate::server::Server;

const SIZE: u64 = 6 * BLOCK;

/// Returns once `close` has come: the server refuses whatever else is asked. What had been asked just
/// before may have to wait for `close`.
fn await_closing(server: &Server) {
    let begun = Instant::now();
    loop {
        let mut http = server.dial();
        http.stream().set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        http.send_head("GET", "/v1-ssync/getRecordedMetadata", 0);
        if http.answer().is_ok_and(|answer| answer.status == 409) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "close never came");
    }
}

#[test]
fn close_waits_for_what_is_in_flight_and_refuses_what_comes_later() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let (mut slow, mut later) = (server.dial(), server.dial());
    later.open(SIZE, false);
    later.punch(0, SIZE);
    later.write(4 * BLOCK, SIZE, &part(4, 6));
    let body = part(0, 2);
    slow.begin("POST", &ranged("writeData", 0, 2 * BLOCK), body.len());
    slow.send(&body[..5000]);
    let mut closing = server.dial();
    let (answers, answered) = channel();
    let closer = std::thread::spawn(move || {
        let _ = answers.send(closing.close(&crc64(&disk().bytes())));
    });
    await_closing(&server);
    for answer in [
        later.open(SIZE, false),
        later.write(0, BLOCK, &part(0, 1)),
        later.punch(0, BLOCK),
        later.hash(0, BLOCK),
        later.metadata(),
        later.close(""),
    ] {
        assert_eq!((answer.status, answer.text()), (409, "the image is closed\n"));
    }
    assert!(!target.exists());
    assert!(answered.try_recv().is_err(), "close was answered before a write");
    slow.send(&body[5000..]);
    assert_eq!(slow.answer().unwrap().status, 200);
    let answer = answered.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    closer.join().unwrap();
    server.ended().unwrap();
    assert!(bytes_of(&target) == disk().bytes());
    assert_vouched(&target);
    assert_tidy(&target);
}

#[test]
fn close_is_carried_out_when_the_client_does_not_wait() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let mut http = server.dial();
    http.open(SIZE, false);
    http.write(0, SIZE, &disk().bytes());
    http.send_head("POST", &closing("crc64", &crc64(&disk().bytes())), 0);
    drop(http);
    server.ended().unwrap();
    assert!(bytes_of(&target) == disk().bytes());
    assert_vouched(&target);
    assert_tidy(&target);
}

#[test]
fn close_is_carried_out_when_its_client_hangs_up_before_a_write_has_ended() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let (mut slow, mut closer) = (server.dial(), server.dial());
    closer.open(SIZE, false);
    let body = disk().bytes();
    slow.begin("POST", &ranged("writeData", 0, SIZE), body.len());
    closer.send_head("POST", &closing("", ""), 0);
    await_closing(&server);
    drop(closer);
    slow.send(&body);
    assert_eq!(slow.answer().unwrap().status, 200);
    server.ended().unwrap();
    assert!(bytes_of(&target) == disk().bytes());
    assert_tidy(&target);
}

#[test]
fn nothing_but_the_metadata_is_to_be_had_before_open() {
    let (directory, target) = place();
    let server = Server::of(&target);
    let mut http = server.dial();
    for answer in [http.write(0, BLOCK, &part(0, 1)), http.punch(0, BLOCK), http.hash(0, BLOCK)] {
        assert_eq!(answer.status, 409);
        assert_eq!(answer.text(), "the image is not open: send open first\n");
    }
    assert_eq!(http.metadata().status, 404);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    assert_eq!(http.open(SIZE, false).status, 200);
}

#[test]
fn close_without_open_ends_the_server_and_leaves_what_is_there() {
    for checksum in ["", "0470c08fbc4dc702"] {
        let (_directory, target) = place();
        old_disk().write(&target);
        record(&target);
        let (before, text) = (ctime(&target), bytes_of(&checksum_of(&target)));
        let server = Server::of(&target);
        assert_eq!(server.dial().close(checksum).status, 200);
        server.ended().unwrap();
        assert_eq!(bytes_of(&checksum_of(&target)), text);
        assert_eq!(ctime(&target), before);
        assert!(bytes_of(&target) == old_disk().bytes());
        assert_tidy(&target);
    }
}

#[test]
fn close_after_an_open_that_changed_nothing_leaves_what_is_there() {
    let (_directory, target) = place();
    old_disk().write(&target);
    record(&target);
    let before = ctime(&target);
    let server = Server::of(&target);
    let mut http = server.dial();
    assert_eq!(http.open(SIZE, true).text(), "true");
    assert_eq!(http.close("").status, 200);
    server.ended().unwrap();
    assert_eq!(ctime(&target), before);
    assert!(bytes_of(&target) == old_disk().bytes());
    assert_vouched(&target);
    assert_tidy(&target);
}

#[test]
fn a_second_open_says_that_there_is_an_image_and_another_one_is_refused() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let mut http = server.dial();
    assert_eq!(http.open(SIZE, false).text(), "false");
    assert_eq!(http.write(0, BLOCK, &part(0, 1)).status, 200);
    assert_eq!(http.open(SIZE, false).text(), "true");
    assert_ne!(http.hash(0, BLOCK).text(), "null");
    for answer in [http.open(2 * SIZE, false), http.open(SIZE, true)] {
        assert_eq!(answer.status, 409, "{}", answer.text());
    }
    assert_eq!(http.write(BLOCK, SIZE, &part(1, 6)).status, 200);
    assert_eq!(http.close("").status, 200);
    server.ended().unwrap();
    assert!(bytes_of(&target) == disk().bytes());
}

#[test]
fn what_an_interrupted_session_left_is_compared_and_not_sent_again() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let mut http = server.dial();
    assert_eq!(http.open(SIZE, false).text(), "false");
    http.write(0, BLOCK, &part(0, 1));
    server.stopped().unwrap_err();
    assert_eq!(Beside::of(&target), Beside { data: true, ..Beside::default() });
    let server = Server::of(&target);
    let mut http = server.dial();
    assert_eq!(http.open(SIZE, false).text(), "true");
    assert_ne!(http.hash(0, BLOCK).text(), "null");
    assert_eq!(http.hash(BLOCK, 2 * BLOCK).text(), "null");
    http.write(BLOCK, SIZE, &part(1, 6));
    assert_eq!(http.close(&crc64(&disk().bytes())).status, 200);
    server.ended().unwrap();
    assert_vouched(&target);
    assert_tidy(&target);
}

#[test]
fn what_another_session_sent_does_not_count() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let mut first = server.dial();
    first.open(SIZE, false);
    assert_eq!(first.write(BLOCK, SIZE, &part(1, 6)).status, 200);
    drop(first);
    let mut second = server.dial();
    assert_eq!(second.open(SIZE, false).text(), "true");
    assert_eq!(second.write(0, BLOCK, &part(0, 1)).status, 200);
    let answer = second.close("");
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("missing"), "{}", answer.text());
    server.failed();
    assert!(!target.exists());
}

#[test]
fn an_image_that_was_only_looked_at_is_not_done() {
    let (_directory, target) = place();
    old_disk().write(&target);
    let server = Server::of(&target);
    let mut http = server.dial();
    http.open(SIZE, false);
    assert_ne!(http.hash(0, BLOCK).text(), "null");
    let answer = http.close("");
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("the image was not changed"), "{}", answer.text());
    server.failed();
    assert!(bytes_of(&target) == old_disk().bytes());
}

#[test]
fn an_open_that_was_refused_is_no_success() {
    let (_directory, target) = place();
    old_disk().write(&target);
    let held = lacuna::Target::open(&target, &lacuna::TargetOptions::default()).unwrap();
    let server = Server::of(&target);
    let mut http = server.dial();
    assert_eq!(http.open(SIZE, true).status, 500);
    let answer = http.close("");
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("in use by another process"), "{}", answer.text());
    assert!(matches!(server.failed(), lacuna_sync::Error::Image(lacuna::Error::Busy { .. })));
    drop(held);
    assert!(bytes_of(&target) == old_disk().bytes());
}

#[test]
fn a_server_that_was_started_anew_does_not_end_the_session_of_the_one_before() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let mut http = server.dial();
    http.open(SIZE, false);
    http.write(0, SIZE, &disk().bytes());
    server.stopped().unwrap_err();
    let server = Server::of(&target);
    assert_eq!(server.dial().close("").status, 409);
    server.failed();
    assert!(!target.exists());
}
