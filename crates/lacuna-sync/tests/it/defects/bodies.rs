//! The original wrote a body that did not fit its range, and let a range grow the file.

use std::path::Path;

use lacuna_sync::Error;

use super::{BLOCK, assert_next_session_completes, disk, old_disk, part, place};
use crate::http::{Answer, Http, ranged};
use crate::image::{assert_tidy, assert_vouched, bytes_of, crc64, ctime, data_of, record};
use crate::server::Server;

const SIZE: u64 = 6 * BLOCK;

/// More than any body may have.
const TOO_MUCH: usize = (4 << 20) + 1;

/// Ranges with lengths of bodies that do not fit them, in an image of `size` bytes.
fn misfits(size: u64) -> Vec<(u64, u64, usize)> {
    let past = size.next_multiple_of(BLOCK);
    vec![
        (0, BLOCK, 0),
        (0, BLOCK, 1),
        (0, BLOCK, 4095),
        (0, BLOCK, 4097),
        (0, BLOCK, 8192),
        (BLOCK, BLOCK, 1),
        (size - 10, past, 9),
        (size - 10, past, 11),
        (size - 10, past + BLOCK, 4096),
        (past, past + BLOCK, 4096),
        (past, past + BLOCK, 1),
        (1 << 40, (1 << 40) + 4096, 4096),
        (0, i64::MAX as u64, 4096),
    ]
}

#[test]
fn a_body_that_does_not_fit_its_range_is_refused_and_not_written() {
    let (_directory, target) = place();
    old_disk().write(&target);
    record(&target);
    let before = ctime(&target);
    let server = Server::of(&target);
    let mut http = server.dial();
    http.open(SIZE, false);
    for (begin, end, length) in misfits(SIZE) {
        let answer = http.write(begin, end, &vec![7; length]);
        assert_eq!(answer.status, 400, "{begin}..{end} with {length} bytes: {}", answer.text());
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    assert_eq!(ctime(&target), before);
    let answer = http.close("");
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("the image was not changed"), "{}", answer.text());
    server.failed();
    assert!(bytes_of(&target) == old_disk().bytes());
    assert_vouched(&target);
    assert_tidy(&target);
}

/// Of an image whose last block is partial.
#[test]
fn a_body_ends_where_the_image_does_and_nowhere_else() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let mut http = server.dial();
    let bytes = &disk().bytes()[..5000];
    assert_eq!(http.open(5000, false).text(), "false");
    // Nothing at all would be the word for giving up.
    for (begin, end, length) in misfits(5000).into_iter().filter(|misfit| misfit.2 > 0) {
        assert_eq!(http.write(begin, end, &vec![7; length]).status, 400, "{begin}..{end}");
    }
    assert_eq!(data_of(&target).metadata().unwrap().len(), 5000);
    assert_eq!(http.write(0, BLOCK, &bytes[..4096]).status, 200);
    assert_eq!(http.write(BLOCK, 2 * BLOCK, &bytes[4096..]).status, 200);
    // Preallocation past the end, as the original's client sends it from btrfs.
    assert_eq!(http.write(2 * BLOCK, 9 * BLOCK, b"").status, 200);
    assert_eq!(http.punch(2 * BLOCK, 9 * BLOCK).status, 200);
    assert_eq!(http.hash(2 * BLOCK, 9 * BLOCK).text(), "null");
    let answer = http.close(&crc64(bytes));
    assert_eq!(answer.status, 200, "{}", answer.text());
    server.ended().unwrap();
    assert!(bytes_of(&target) == bytes);
    assert_vouched(&target);
}

/// A body sent in chunks, its length not announced.
fn write_chunked(http: &mut Http, begin: u64, end: u64, body: &[u8]) -> Answer {
    let target = ranged("writeData", begin, end);
    http.send(format!("POST {target} HTTP/1.1\r\nHost: test\r\n").as_bytes());
    http.send(b"Transfer-Encoding: chunked\r\n\r\n");
    for chunk in body.chunks(1 << 16) {
        http.send(format!("{:x}\r\n", chunk.len()).as_bytes());
        http.send(chunk);
        http.send(b"\r\n");
    }
    http.send(b"0\r\n\r\n");
    http.answer().expect("an answer")
}

#[test]
fn a_body_in_chunks_is_held_to_the_same_length() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let mut http = server.dial();
    http.open(SIZE, false);
    assert_eq!(write_chunked(&mut http, 0, BLOCK, &part(0, 1)).status, 200);
    assert_eq!(write_chunked(&mut http, BLOCK, SIZE, &part(1, 6)).status, 200);
    for length in [0, 1, 4095, 4097] {
        let answer = write_chunked(&mut server.dial(), 0, BLOCK, &vec![7; length]);
        assert_eq!(answer.status, 400, "{length}: {}", answer.text());
    }
    assert!(bytes_of(&data_of(&target)) == disk().bytes(), "a refused body was written");
    assert_eq!(write_chunked(&mut server.dial(), 0, BLOCK, &part(0, 1)).status, 200);
    assert_eq!(http.close(&crc64(&disk().bytes())).status, 200);
    server.ended().unwrap();
    assert_vouched(&target);
}

#[test]
fn a_body_of_more_than_4_mib_is_refused_before_it_is_taken() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    server.dial().open(16 << 20, false);
    let answer = server.dial().write(0, TOO_MUCH as u64, &vec![7; TOO_MUCH]);
    assert_eq!(answer.status, 413, "{}", answer.text());
    // Far too much: the refusal comes without a byte of it.
    let mut http = server.dial();
    http.announce("POST", &ranged("writeData", 0, 16 << 20), 16 << 20);
    assert_eq!(http.answer().unwrap().status, 413);
    // In chunks: as soon as it is too much.
    let answer = write_chunked(&mut server.dial(), 0, 16 << 20, &vec![7; TOO_MUCH]);
    assert_eq!(answer.status, 413, "{}", answer.text());
    let data = bytes_of(&data_of(&target));
    assert!(data.len() == 16 << 20 && data.iter().all(|byte| *byte == 0));
    // The largest there is.
    assert_eq!(server.dial().write(0, 4 << 20, &vec![7; 4 << 20]).status, 200);
}

/// A client that is gone before its body has ended.
#[test]
fn half_a_body_is_not_written_and_its_range_is_missing() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let mut http = server.dial();
    http.open(SIZE, false);
    http.write(0, SIZE, &disk().bytes());
    let mut gone = server.dial();
    gone.begin("POST", &ranged("writeData", 0, 2 * BLOCK), 8192);
    gone.send(&[7; 8191]);
    drop(gone);
    let answer = http.close("");
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("bytes 0..8192 missing"), "{}", answer.text());
    assert!(matches!(server.failed(), Error::Incomplete { .. }));
    assert_kept(&target);
}

#[track_caller]
fn assert_kept(target: &Path) {
    assert!(!target.exists());
    assert!(bytes_of(&data_of(target)) == disk().bytes());
    assert_next_session_completes(target);
}
