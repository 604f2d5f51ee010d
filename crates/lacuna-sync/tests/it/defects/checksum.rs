//! The original believed whatever checksum came with `close`, also after a sync that had failed.

use std::path::Path;

use jiff::tz::TimeZone;
use lacuna_sync::Error;
use lacuna_sync::v1::ServeOptions;

use super::{BLOCK, assert_next_session_completes, disk, old_disk, part, place};
use crate::http::{Answer, Http, closing, ranged};
use crate::image::{
    Beside, assert_tidy, assert_vouched, bytes_of, checksum_of, checksum_text, crc64, data_of,
    record, vouched,
};
use crate::server::Server;

const SIZE: u64 = 6 * BLOCK;

/// The checksum of the source, which the original's client announces however the sync went.
fn announced() -> String {
    crc64(&disk().bytes())
}

/// All of [`disk`] as the original's client sends it to a new target.
fn send_all(http: &mut Http) {
    for answer in [
        http.open(SIZE, false),
        http.punch(2 * BLOCK, 4 * BLOCK),
        http.write(4 * BLOCK, 6 * BLOCK, &part(4, 6)),
        http.write(0, 2 * BLOCK, &part(0, 2)),
    ] {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// Fails unless a new target was refused its name.
#[track_caller]
fn assert_kept(server: &Server, answer: &Answer, target: &Path) {
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains(".disk.img.lacuna-data"), "{}", answer.text());
    let failed = server.failed();
    assert!(matches!(failed, Error::Incomplete { .. } | Error::Mismatch { .. }), "{failed}");
    assert!(!target.exists() && data_of(target).exists());
    assert!(!checksum_of(target).exists());
    assert_next_session_completes(target);
}

#[test]
fn a_new_image_with_a_gap_is_not_recorded() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let mut http = server.dial();
    http.open(SIZE, false);
    http.punch(2 * BLOCK, 4 * BLOCK);
    http.write(0, 2 * BLOCK, &part(0, 2));
    let answer = http.close(&announced());
    assert!(answer.text().contains("bytes 16384..24576 missing"), "{}", answer.text());
    assert_kept(&server, &answer, &target);
}

#[test]
fn a_new_image_with_a_range_that_failed_is_not_recorded() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let mut http = server.dial();
    send_all(&mut http);
    assert_eq!(http.write(0, BLOCK, b"short").status, 400);
    let answer = http.close(&announced());
    assert!(answer.text().contains("bytes 0..4096 missing"), "{}", answer.text());
    assert_kept(&server, &answer, &target);
}

#[test]
fn an_image_that_is_not_what_was_announced_is_not_recorded() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let mut http = server.dial();
    send_all(&mut http);
    let answer = http.close("0470c08fbc4dc702");
    assert!(answer.text().contains(&announced()), "{}", answer.text());
    assert!(answer.text().contains("0470c08fbc4dc702"), "{}", answer.text());
    assert_kept(&server, &answer, &target);
}

/// The order of the original's client: every range is compared, one of those that differ is never
/// sent because another failed.
#[test]
fn a_range_that_was_compared_but_never_sent_is_not_recorded() {
    let (_directory, target) = place();
    old_disk().write(&target);
    let server = Server::of(&target);
    let mut http = server.dial();
    assert_eq!(http.open(SIZE, false).text(), "true");
    http.punch(2 * BLOCK, 4 * BLOCK);
    assert_ne!(http.hash(0, 2 * BLOCK).text(), "null");
    assert_ne!(http.hash(4 * BLOCK, 6 * BLOCK).text(), "null");
    let answer = http.close(&announced());
    assert_eq!(answer.status, 500);
    assert!(matches!(server.failed(), Error::Mismatch { .. }));
    assert!(bytes_of(&target) == old_disk().bytes(), "the image was changed");
    assert!(!checksum_of(&target).exists());
    assert_next_session_completes(&target);
}

#[test]
fn an_existing_image_of_which_a_part_was_sent_stays_marked() {
    let (_directory, target) = place();
    old_disk().write(&target);
    record(&target);
    let server = Server::of(&target);
    let mut http = server.dial();
    http.open(SIZE, false);
    http.punch(2 * BLOCK, 4 * BLOCK);
    http.hash(0, 2 * BLOCK);
    http.hash(4 * BLOCK, 6 * BLOCK);
    assert!(checksum_of(&target).exists());
    assert_eq!(http.write(0, BLOCK, &part(1, 2)).status, 200);
    assert!(!checksum_of(&target).exists(), "it speaks of what the image was");
    assert_eq!(http.write(4 * BLOCK, 6 * BLOCK, b"short").status, 400);
    let answer = http.close(&announced());
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("is marked unfinished"), "{}", answer.text());
    assert!(matches!(server.failed(), Error::Incomplete { .. }));
    assert!(!checksum_of(&target).exists());
    assert_eq!(Beside::of(&target), Beside { unfinished: true, ..Beside::default() });
    assert_next_session_completes(&target);
}

#[test]
fn a_complete_image_is_recorded_as_longhorn_writes_it() {
    let (_directory, target) = place();
    let zone = TimeZone::posix("NPT-5:45").unwrap();
    let server = Server::with(&target, &ServeOptions { zone, ..ServeOptions::default() });
    let mut http = server.dial();
    send_all(&mut http);
    assert_eq!(http.close(&announced()).status, 200);
    server.ended().unwrap();
    let text = checksum_text(&target, &announced(), "NPT-5:45");
    assert!(text.contains(" +0545 NPT\""), "{text}");
    assert_eq!(String::from_utf8(bytes_of(&checksum_of(&target))).unwrap(), text);
    assert_tidy(&target);
}

/// A complete session after which the announced checksum is that of the image.
#[track_caller]
fn assert_recorded(before: Option<&[u8]>, send: impl Fn(&mut Http)) {
    let (_directory, target) = place();
    if let Some(before) = before {
        crate::image::put(&target, before);
    }
    let server = Server::of(&target);
    let mut http = server.dial();
    http.open(SIZE, false);
    send(&mut http);
    let answer = http.close(&announced());
    assert_eq!(answer.status, 200, "{}", answer.text());
    server.ended().unwrap();
    assert_vouched(&target);
    assert!(bytes_of(&target) == disk().bytes());
}

#[test]
fn the_last_word_on_a_range_counts() {
    let all = disk().bytes();
    assert_recorded(None, |http| {
        http.write(0, SIZE, &[7; SIZE as usize]);
        http.write(0, SIZE, &all);
    });
    assert_recorded(None, |http| {
        assert_eq!(http.write(0, SIZE, b"short").status, 400);
        http.write(0, SIZE, &all);
    });
    assert_recorded(None, |http| {
        http.write(0, SIZE, &[7; SIZE as usize]);
        http.punch(0, SIZE);
        http.write(0, 2 * BLOCK, &part(0, 2));
        http.write(4 * BLOCK, SIZE, &part(4, 6));
    });
}

#[test]
fn what_was_hashed_counts_as_what_was_written_does() {
    let all = disk().bytes();
    assert_recorded(Some(&all), |http| {
        assert_ne!(http.hash(0, SIZE).text(), "null");
    });
    assert_recorded(None, |http| {
        http.punch(0, SIZE);
        http.write(0, 2 * BLOCK, &part(0, 2));
        assert_ne!(http.hash(0, 2 * BLOCK).text(), "null");
        http.write(4 * BLOCK, SIZE, &part(4, 6));
    });
    assert_recorded(Some(&old_disk().bytes()), |http| {
        http.hash(0, SIZE);
        http.write(0, SIZE, &all);
    });
}

#[test]
fn another_method_or_no_value_completes_the_image_and_records_nothing() {
    for (method, checksum) in
        [("md5", "0470c08fbc4dc702"), ("CRC64", "0470c08fbc4dc702"), ("crc64", ""), ("", "abc")]
    {
        let (_directory, target) = place();
        let server = Server::of(&target);
        let mut http = server.dial();
        send_all(&mut http);
        let answer = http.ask("POST", &closing(method, checksum), b"");
        assert_eq!(answer.status, 200, "{method}: {}", answer.text());
        server.ended().unwrap();
        assert!(bytes_of(&target) == disk().bytes());
        assert!(!checksum_of(&target).exists(), "{method}");
    }
}

/// Two writes that overlap in part leave bytes whose CRC no request tells.
#[test]
fn what_the_requests_do_not_tell_is_read_from_the_disk() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let mut http = server.dial();
    send_all(&mut http);
    http.ask("POST", &ranged("writeData", BLOCK, 2 * BLOCK), &part(1, 2));
    assert_eq!(http.close(&announced()).status, 200);
    server.ended().unwrap();
    assert!(bytes_of(&target) == disk().bytes());
    assert_eq!(vouched(&target), Some(announced()));
}

#[test]
fn what_is_read_from_the_disk_is_not_what_was_announced() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let mut http = server.dial();
    send_all(&mut http);
    http.write(BLOCK, 2 * BLOCK, &part(0, 1));
    let answer = http.close(&announced());
    assert!(answer.text().contains(&announced()), "{}", answer.text());
    assert_kept(&server, &answer, &target);
}
