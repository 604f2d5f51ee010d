//! The recordings of the original, read and written by this crate.
//!
//! `recordings/*.jsonl` are whole syncs, a request and its response a line; `recordings/probes.txt`
//! is single requests with the answers as they came over the wire.

use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lacuna_wire::v1::{self, Interval, JSON, Refusal, Request};
use serde_json::Value;

fn recordings() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/recordings")
}

/// A recorded answer: status, the headers that a handler sets, body.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// The headers that HTTP itself adds, which are not this crate's.
const TRANSPORT: [&str; 3] = ["Date", "Content-Length", "Transfer-Encoding"];

impl Answer {
    fn new(status: u16, headers: Vec<(String, String)>, body: String) -> Self {
        let mut headers = headers;
        headers.retain(|(name, _)| !TRANSPORT.contains(&name.as_str()));
        headers.sort();
        Self { status, headers, body }
    }

    fn of(refusal: &Refusal) -> Self {
        let headers = refusal.headers().into_iter().map(|(name, value)| (name.to_owned(), value));
        Self::new(refusal.status, headers.collect(), refusal.body())
    }

    fn is_json(&self) -> bool {
        self.headers == [("Content-Type".to_owned(), JSON.to_owned())]
    }
}

/// A line of a `.jsonl` file.
struct Exchange {
    method: String,
    target: String,
    body: Vec<u8>,
    answer: Answer,
}

fn exchanges() -> Vec<Exchange> {
    let mut files: Vec<_> = fs::read_dir(recordings())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 9);
    let texts: Vec<_> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    texts.iter().flat_map(|text| text.lines()).map(exchange).collect()
}

fn exchange(line: &str) -> Exchange {
    let line: Value = serde_json::from_str(line).unwrap();
    let (request, response) = (&line["request"], &line["response"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
    let headers = response["headers"].as_array().unwrap();
    let headers = headers.iter().map(|header| (text(&header[0]), text(&header[1]))).collect();
    let status = response["status"].as_u64().unwrap().try_into().unwrap();
    let body = String::from_utf8(bytes(&response["body"])).unwrap();
    Exchange {
        method: text(&request["method"]),
        target: text(&request["target"]),
        body: bytes(&request["body"]),
        answer: Answer::new(status, headers, body),
    }
}

/// What a target that needs no decoding means, by the simplest reading.
fn meaning(target: &str) -> Request {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let text = |key: &str| {
        let value = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{key}=")));
        value.unwrap().to_owned()
    };
    let number = |key: &str| text(key).parse().unwrap();
    let interval = || Interval::new(number("begin"), number("end")).unwrap();
    match path {
        "/v1-ssync/open" => {
            Request::Open { size: number("end"), direct_io: text("directIO") == "true" }
        }
        "/v1-ssync/getChecksum" => Request::GetChecksum(interval()),
        "/v1-ssync/writeData" => Request::WriteData(interval()),
        "/v1-ssync/sendHole" => Request::SendHole(interval()),
        "/v1-ssync/getRecordedMetadata" => Request::GetRecordedMetadata,
        "/v1-ssync/close" => {
            Request::Close { method: text("checksumMethod"), checksum: text("checksum") }
        }
        _ => panic!("{path}"),
    }
}

#[test]
fn recorded_requests_are_read_for_what_they_mean_and_written_again() {
    let exchanges = exchanges();
    assert_eq!(exchanges.len(), 48);
    for Exchange { method, target, .. } in exchanges {
        let request = Request::parse(&method, &target).unwrap();
        assert_eq!(request, meaning(&target));
        assert_eq!((request.method().as_str(), request.target()), (&*method, target));
    }
}

#[test]
fn recorded_bodies_fit_the_ranges_that_they_came_for() {
    let mut size = 0;
    let mut written = 0;
    for Exchange { method, target, body, .. } in exchanges() {
        match Request::parse(&method, &target).unwrap() {
            Request::Open { size: opened, .. } => size = opened,
            Request::WriteData(interval) => {
                let length = body.len() as u64;
                assert_eq!(v1::check_body(interval, size, length), Ok(interval.within(size)));
                written += 1;
            }
            _ => assert!(body.is_empty(), "{target}"),
        }
    }
    assert_eq!(written, 9);
}

#[test]
fn recorded_answers_are_decoded_and_encoded_again() {
    let mut checksums = 0;
    for Exchange { method, target, answer, .. } in exchanges() {
        let body = answer.body.as_bytes();
        match Request::parse(&method, &target).unwrap() {
            Request::Open { .. } => {
                assert!(answer.is_json());
                let existed = v1::decode_existed(body).unwrap();
                assert_eq!(v1::encode_existed(existed), answer.body);
            }
            Request::GetChecksum(_) => {
                assert!(answer.is_json());
                let checksum = v1::decode_checksum(body).unwrap();
                assert_eq!(v1::encode_checksum(checksum.as_ref()), answer.body);
                checksums += 1;
            }
            Request::GetRecordedMetadata if answer.status == 404 => {
                let words = "no such file or directory";
                let name = "t3.img.checksum";
                let message = format!("failed to open checksum file: open {name}: {words}");
                assert_eq!(Answer::of(&Refusal::new(404, message)), answer);
            }
            Request::GetRecordedMetadata => assert!(answer.is_json()),
            _ => assert_eq!((answer.status, answer.headers, body), (200, Vec::new(), &b""[..])),
        }
    }
    assert_eq!(checksums, 7);
}

/// The probes: method, target and answer.
fn probes() -> Vec<(&'static str, String, Answer)> {
    let text = fs::read_to_string(recordings().join("probes.txt")).unwrap();
    let blocks = text.strip_prefix("### ").unwrap().split("\n### ");
    blocks.map(probe).collect()
}

fn probe(block: &str) -> (&'static str, String, Answer) {
    let (command, answer) = block.split_once('\n').unwrap();
    let method = if command.starts_with("-X POST ") { "POST" } else { "GET" };
    let (_, target) = command.split_once("http://127.0.0.1:23456").unwrap();
    let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    // What follows the body are the recorder's own lines.
    let length = headers.iter().find(|(name, _)| name == "Content-Length");
    let length = length.map_or(0, |(_, length)| length.parse().unwrap());
    (method, target.to_owned(), Answer::new(status, headers, rest[..length].to_owned()))
}

/// Ranges that the original takes or fails on late, and that are 400 here.
const DEFECTS: [&str; 2] =
    ["/v1-ssync/getChecksum?begin=8192&end=4096", "/v1-ssync/getChecksum?begin=-1&end=4096"];

/// What the original refuses for the state of the server, not for the request.
const STATEFUL: [&str; 3] = [
    "/v1-ssync/sendHole?begin=4096&end=4096",
    "/v1-ssync/getRecordedMetadata",
    "/v1-ssync/getRecordedMetadata",
];

#[test]
fn probes_are_refused_as_the_original_refused_them() {
    let mut refused = 0;
    for (method, target, answer) in probes() {
        let Err(refusal) = Request::parse(method, &target) else {
            continue;
        };
        if DEFECTS.contains(&target.as_str()) {
            assert_eq!(refusal.status, 400, "{target}");
        } else {
            assert_eq!(Answer::of(&refusal), answer, "{method} {target}");
        }
        refused += 1;
    }
    assert_eq!(refused, 8 + DEFECTS.len());
}

#[test]
fn probes_that_are_read_were_answered_by_the_state_of_the_original() {
    let probes = probes();
    assert_eq!(probes.len(), 26);
    let mut stateful = Vec::new();
    for (method, target, answer) in probes {
        if Request::parse(method, &target).is_err() {
            continue;
        }
        if answer.status != 200 {
            let message = answer.body.strip_suffix('\n').unwrap();
            assert_eq!(Answer::of(&Refusal::new(answer.status, message)), answer, "{target}");
            stateful.push(target);
        }
    }
    assert_eq!(stateful, STATEFUL);
}
