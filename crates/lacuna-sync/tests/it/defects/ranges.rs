//! The original took ranges that are none, or failed on them late.

use super::{BLOCK, old_disk, part, place};
use crate::image::{assert_tidy, bytes_of, ctime};
use crate::server::Server;

/// Values of `begin` and `end`.
const NO_RANGES: [(&str, &str); 9] = [
    ("8192", "4096"),
    ("1", "0"),
    ("-1", "4096"),
    ("-4096", "0"),
    ("-8192", "-4096"),
    ("0", "-4096"),
    ("0", "9223372036854775808"),
    ("9223372036854775808", "9223372036854775809"),
    ("0", "99999999999999999999999999"),
];

#[test]
fn a_reversed_negative_or_overflowing_range_is_refused_and_nothing_is_done() {
    let (_directory, target) = place();
    old_disk().write(&target);
    let before = ctime(&target);
    let server = Server::of(&target);
    let mut http = server.dial();
    http.open(6 * BLOCK, false);
    for (begin, end) in NO_RANGES {
        for (method, name, body) in [
            ("GET", "getChecksum", &b""[..]),
            ("POST", "sendHole", b""),
            ("POST", "writeData", b""),
            ("POST", "writeData", &part(0, 1)),
        ] {
            let target = format!("/v1-ssync/{name}?begin={begin}&end={end}");
            let answer = http.ask(method, &target, body);
            assert_eq!(answer.status, 400, "{target}: {}", answer.text());
        }
    }
    assert_eq!(http.close("").status, 200);
    server.ended().unwrap();
    assert_eq!(ctime(&target), before);
    assert!(bytes_of(&target) == old_disk().bytes());
    assert_tidy(&target);
}

#[test]
fn an_image_of_no_possible_size_is_refused() {
    let (directory, target) = place();
    let server = Server::of(&target);
    let mut http = server.dial();
    for (begin, end) in NO_RANGES.into_iter().chain([("4096", "8192")]) {
        let target = format!("/v1-ssync/open?begin={begin}&directIO=false&end={end}");
        assert_eq!(http.ask("GET", &target, b"").status, 400, "{target}");
    }
    for size in ["1", "4095", "4097"] {
        let target = format!("/v1-ssync/open?begin=0&directIO=true&end={size}");
        let answer = http.ask("GET", &target, b"");
        assert_eq!(answer.status, 500);
        assert_eq!(answer.text(), format!("invalid file size {size} for directIO\n"));
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    // What the protocol can name and no filesystem can hold.
    let answer = http.open(i64::MAX as u64 / 4096 * 4096, true);
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("file too large"), "{}", answer.text());
    assert_eq!(http.open(BLOCK, true).status, 200);
}

#[test]
fn a_range_past_the_end_is_nothing_but_no_fault() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let mut http = server.dial();
    http.open(BLOCK, false);
    http.write(0, BLOCK, &part(0, 1));
    for (begin, end) in [(BLOCK, 2 * BLOCK), (1 << 50, (1 << 50) + 1), (BLOCK, i64::MAX as u64)] {
        assert_eq!(http.punch(begin, end).status, 200);
        assert_eq!(http.write(begin, end, b"").status, 200);
        assert_eq!(http.hash(begin, end).text(), "null");
    }
    // Over the end: what is within counts.
    assert_eq!(http.punch(0, i64::MAX as u64).status, 200);
    assert_eq!(http.write(0, i64::MAX as u64, &part(0, 1)).status, 200);
    assert_ne!(http.hash(0, i64::MAX as u64).text(), "null");
    assert_eq!(http.close("").status, 200);
    server.ended().unwrap();
    assert!(bytes_of(&target) == part(0, 1));
}
