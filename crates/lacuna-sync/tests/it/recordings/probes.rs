//! Single requests to our server, in the order in which the original was probed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lacuna::digest::sha512;

use super::directory;
use super::server::assert_like;
use crate::http::Answer;
use crate::image::{change_time, checksum_of, checksum_text, data_of, put};
use crate::server::Server;

struct Probe {
    method: &'static str,
    target: String,
    /// Whether the block goes with it.
    has_body: bool,
    answer: Answer,
}

fn probes() -> Vec<Probe> {
    let text = std::fs::read_to_string(directory().join("probes.txt")).expect("the probes");
    let blocks = text.strip_prefix("### ").expect("a probe").split("\n### ");
    blocks.map(probe).collect()
}

fn probe(block: &str) -> Probe {
    let (command, answer) = block.split_once('\n').expect("a command");
    let (_, target) = command.split_once("http://127.0.0.1:23456").expect("a target");
    let (head, rest) = answer.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let mut answer =
        Answer { status: status.expect("a status"), headers: headers.collect(), body: vec![] };
    // What follows the body are lines of the recorder.
    let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    answer.body = rest.as_bytes()[..length].to_vec();
    Probe {
        method: if command.starts_with("-X POST ") { "POST" } else { "GET" },
        target: target.to_owned(),
        has_body: command.contains("--data-binary"),
        answer,
    }
}

/// The block that was written, whose bytes the recording does not have.
const BLOCK: [u8; 4096] = [7; 4096];

/// The recorded answer with the digest of our block in place of that of the original's.
fn of_our_block(mut answer: Answer) -> Answer {
    if answer.body.starts_with(b"\"+bBGL3F/") {
        answer.body = format!("\"{}\"", STANDARD.encode(sha512(&BLOCK))).into();
    }
    answer
}

/// What our server answers where the original's does harm.
fn mended(target: &str) -> Option<(u16, &'static str)> {
    Some(match target {
        "/v1-ssync/getChecksum?begin=8192&end=4096" => (400, "end 4096 is before begin 8192"),
        "/v1-ssync/getChecksum?begin=-1&end=4096" => (400, "begin -1 is negative"),
        "/v1-ssync/writeData?begin=1048576&end=1052672" => (400, "4096"),
        "/v1-ssync/close?checksumMethod=crc64&checksum=abc" => (500, "bytes 4096..1044480 missing"),
        _ => return None,
    })
}

fn send_all(probes: &[Probe], target: &Path) {
    let server = Server::of(target);
    let mut http = server.dial();
    for Probe { method, target, has_body, answer: recorded } in probes {
        let body: &[u8] = if *has_body { &BLOCK } else { b"" };
        let answer = http.ask(method, target, body);
        match mended(target) {
            None => assert_like(&answer, &of_our_block(recorded.clone()), target),
            Some((status, words)) => {
                assert_eq!(answer.status, status, "{target}: {}", answer.text());
                assert!(answer.text().contains(words), "{target}: {}", answer.text());
                assert!(answer.text().ends_with('\n'));
                assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
                assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            }
        }
    }
}

#[test]
fn a_new_target_is_probed_like_the_original() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("new.img");
    let probes = probes();
    let closes = probes.iter().position(|probe| probe.target.contains("/close")).unwrap();
    assert_eq!((probes.len(), closes), (26, 21));
    send_all(&probes[..=closes], &target);
    assert!(!target.exists() && !checksum_of(&target).exists());
    assert_eq!(data_of(&target).metadata().unwrap().len(), 1 << 20);
}

#[test]
fn a_recorded_target_is_probed_like_the_original() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("new.img");
    put(&target, &[0; 1 << 20]);
    let text = checksum_text(&target, "abc", "UTC0");
    std::fs::write(checksum_of(&target), &text).unwrap();
    let probes = probes();
    let [.., fresh, open, changed, close] = probes.as_slice() else { panic!("too few") };
    let server = Server::of(&target);
    let mut http = server.dial();
    let answer = http.metadata();
    assert_like(&answer, &fresh.answer, "fresh");
    assert_eq!(answer.text(), text);
    assert_like(&http.ask(open.method, &open.target, b""), &open.answer, "open");
    // The original's `open` changed the image; ours leaves one of the right size alone.
    let expected = change_time(&target, "UTC0");
    std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o640)).unwrap();
    let answer = http.metadata();
    assert_eq!(answer.status, changed.answer.status);
    assert_eq!(answer.header("content-type"), changed.answer.header("content-type"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let current = change_time(&target, "UTC0");
    let text = format!(
        "disk file {} is changed (current change time {current}, expected change time {expected})\n",
        target.display()
    );
    assert_eq!(answer.text(), text);
    assert_like(&http.ask(close.method, &close.target, b""), &close.answer, "close");
    server.ended().unwrap();
}
