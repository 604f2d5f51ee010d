//! HTTP for the model, and what the original makes of each request.

use std::io::{Read, Write};
use std::net::TcpStream;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lacuna::digest::sha512;

use super::image::Image;
use super::{Seen, State};

/// The next request: method, target and body. `None` when the client has gone.
pub(super) fn read_request(mut stream: &TcpStream) -> Option<(String, String, Vec<u8>)> {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        // A byte at a time, so that nothing behind the head is taken.
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let mut words = head.lines().next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(Some(0), |length| length.parse().ok())?];
    stream.read_exact(&mut body).ok()?;
    Some((method, target, body))
}

/// An empty body of a success goes out in chunks, of which there is none, as Go sends that of `close`.
pub(super) fn write_answer(mut stream: &TcpStream, status: u16, body: &str) -> Option<()> {
    let answer = match (status, body) {
        (200, "") => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        _ => format!("HTTP/1.1 {status} Words\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
    };
    stream.write_all(answer.as_bytes()).ok()
}

/// A value of the query, which here needs no decoding.
pub(super) fn parameter<'a>(target: &'a str, key: &str) -> Option<&'a str> {
    let (_, query) = target.split_once('?')?;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|pair| pair.0 == key).map(|pair| pair.1)
}

type Answer = (u16, String);

fn failed(words: &str) -> Answer {
    (500, format!("{words}\n"))
}

impl State {
    /// Does what is asked, as the original does, and answers.
    pub(super) fn obey(&mut self, seen: &Seen) -> Answer {
        let method = match seen.name() {
            "open" | "getChecksum" | "getRecordedMetadata" => "GET",
            "writeData" | "sendHole" | "close" => "POST",
            _ => return (404, "404 page not found\n".to_owned()),
        };
        if seen.method != method {
            return (405, String::new());
        }
        match seen.name() {
            "getRecordedMetadata" => match &self.metadata {
                Some(metadata) => (200, metadata.clone()),
                None => (404, "failed to open checksum file: no such file or directory\n".into()),
            },
            "close" => (200, String::new()),
            "open" => self.open(&seen.target),
            name => match (interval(&seen.target), &mut self.image) {
                (None, _) => failed("failed to query interval"),
                (Some((begin, end)), Some(image)) if self.opened => {
                    ranged(name, image, begin, end, &seen.body)
                }
                _ => failed("nil pointer dereference"),
            },
        }
    }

    fn open(&mut self, target: &str) -> Answer {
        let direct = match parameter(target, "directIO") {
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
            _ => return failed("failed to query directIO"),
        };
        let Some((0, size)) = interval(target) else { return failed("failed to query interval") };
        if direct && !size.is_multiple_of(4096) {
            return failed(&format!("invalid file size {size} for directIO"));
        }
        self.opened = true;
        self.metadata = None;
        self.image.get_or_insert_with(Image::empty).truncate(size);
        (200, self.existed.to_string())
    }
}

fn interval(target: &str) -> Option<(usize, usize)> {
    let number = |key| parameter(target, key)?.parse().ok();
    Some((number("begin")?, number("end")?))
}

fn ranged(name: &str, image: &mut Image, begin: usize, end: usize, body: &[u8]) -> Answer {
    match name {
        "getChecksum" => match image.data(begin, end) {
            Some(bytes) => (200, format!("\"{}\"", STANDARD.encode(sha512(bytes)))),
            None => (200, "null".to_owned()),
        },
        "writeData" => {
            // A body that is too short is taken, one that is too long is cut.
            image.write(begin, &body[..body.len().min(end.saturating_sub(begin))]);
            (200, String::new())
        }
        _ if begin >= end => failed("failed to punch hole interval: invalid argument"),
        _ => {
            image.punch(begin, end);
            (200, String::new())
        }
    }
}
