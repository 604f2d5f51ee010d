//! The requests of the original's client, sent to our server in the recorded order.

use std::path::Path;

use lacuna_sync::Error;
use lacuna_testing::mount::{Fs, Mount};

use super::{Exchange, Recorded, recording};
use crate::http::Answer;
use crate::image::{Content, assert_tidy, bytes_of, checksum_of, checksum_text, crc64, data_of};
use crate::server::Server;

/// Sends every request and fails unless each is answered as recorded.
fn replay(exchanges: &[Exchange], target: &Path) {
    let server = Server::of(target);
    let mut http = server.dial();
    for Exchange { method, target, body, answer: recorded } in exchanges {
        let answer = http.ask(method, target, body);
        assert_like(&answer, recorded, &format!("{method} {target}"));
    }
    server.ended().expect("a complete session");
}

/// The status, what the headers say of the body, and the body, with nothing but the directory of
/// the image and the change time of this run allowed to differ.
#[track_caller]
pub(super) fn assert_like(answer: &Answer, recorded: &Answer, request: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, recorded.status, "{request}: {text}");
    for name in ["content-type", "x-content-type-options", "location"] {
        assert_eq!(answer.header(name), recorded.header(name), "{request}: {name}");
    }
    assert_eq!(general(answer), general(recorded), "{request}");
}

fn general(answer: &Answer) -> String {
    let text = String::from_utf8(answer.body.clone()).expect("a text");
    let words = text.split_inclusive(' ').map(|word| match word.rsplit_once('/') {
        Some((directory, name)) if directory.starts_with('/') => name,
        _ => word,
    });
    let text: String = words.collect();
    match text.split_once("\"change_time\":\"") {
        Some((before, rest)) => {
            let after = rest.split_once('"').map_or("", |(_, after)| after);
            format!("{before}{after}")
        }
        None => text,
    }
}

/// One target after another on each filesystem.
fn on_every_filesystem(test: impl Fn(&Path)) {
    for mount in Fs::ALL.into_iter().filter_map(Mount::new) {
        test(&mount.path().join("t3.img"));
    }
}

#[track_caller]
fn assert_is(target: &Path, image: &Recorded) {
    let expected = Content { bytes: image.bytes.clone(), allocated: image.allocated() };
    Content::of(target).assert_is(&expected, target.display());
    assert_tidy(target);
}

#[test]
fn a_new_target_becomes_the_recorded_image_with_its_holes() {
    on_every_filesystem(|target| {
        for (name, image) in [
            ("new-target", Recorded::disk()),
            ("past-eof-extent", Recorded::of("past-eof-extent")),
            ("small-buffered", Recorded::small()),
        ] {
            replay(&recording(name), target);
            assert_is(target, &image);
            assert!(!checksum_of(target).exists());
            std::fs::remove_file(target).unwrap();
        }
    });
}

#[test]
fn an_existing_target_becomes_the_recorded_image() {
    on_every_filesystem(|target| {
        for (name, before, after) in [
            ("identical-target", Recorded::disk(), Recorded::disk()),
            ("changed-target", Recorded::changed_disk(), Recorded::disk()),
            ("small-existing", Recorded::small(), Recorded::small()),
        ] {
            before.put(target);
            replay(&recording(name), target);
            assert_is(target, &after);
        }
    });
}

#[test]
fn a_target_of_which_nothing_is_left_is_emptied() {
    on_every_filesystem(|target| {
        Recorded::disk().put(target);
        replay(&recording("empty-over-existing"), target);
        assert_eq!(bytes_of(target), b"");
        assert_tidy(target);
    });
}

/// The recorded value is one that the source's `.checksum` had, but not the CRC of what was sent.
#[test]
fn the_announced_checksum_is_recorded_if_it_is_that_of_what_arrived() {
    on_every_filesystem(|target| {
        let mut exchanges = recording("with-checksum");
        let checksum = crc64(&Recorded::disk().bytes);
        let close = exchanges.last_mut().unwrap();
        close.target = close.target.replace("0470c08fbc4dc702", &checksum);
        replay(&exchanges, target);
        assert_is(target, &Recorded::disk());
        assert_eq!(
            bytes_of(&checksum_of(target)),
            checksum_text(target, &checksum, "UTC0").as_bytes()
        );
    });
}

#[test]
fn a_recorded_session_with_a_wrong_checksum_is_refused_at_its_end() {
    on_every_filesystem(|target| {
        let exchanges = recording("with-checksum");
        let (close, before) = exchanges.split_last().unwrap();
        let server = Server::of(target);
        let mut http = server.dial();
        for Exchange { method, target, body, answer: recorded } in before {
            assert_like(&http.ask(method, target, body), recorded, target);
        }
        let answer = http.ask(&close.method, &close.target, b"");
        assert_eq!(answer.status, 500);
        assert!(answer.text().contains("0470c08fbc4dc702"), "{}", answer.text());
        assert!(matches!(server.failed(), Error::Mismatch { .. }));
        assert!(!target.exists() && !checksum_of(target).exists());
        assert_eq!(bytes_of(&data_of(target)), Recorded::disk().bytes);
    });
}

#[test]
fn a_sync_that_is_skipped_leaves_the_target_and_its_record() {
    on_every_filesystem(|target| {
        Recorded::disk().put(target);
        let text = checksum_text(target, "0470c08fbc4dc702", "UTC0");
        std::fs::write(checksum_of(target), &text).unwrap();
        replay(&recording("fast-sync-skip"), target);
        assert_is(target, &Recorded::disk());
        assert_eq!(bytes_of(&checksum_of(target)), text.as_bytes());
    });
}

#[test]
fn an_answer_keeps_the_recorded_metadata_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("t3.img");
    Recorded::small().put(&target);
    let spaced = checksum_text(&target, "abc", "UTC0").replace(',', ", ");
    std::fs::write(checksum_of(&target), &spaced).unwrap();
    let server = Server::of(&target);
    let answer = server.dial().metadata();
    assert_eq!((answer.status, answer.text()), (200, spaced.as_str()));
}
