//! Peers that speak something else, or nothing.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use lacuna_sync::Error;
use lacuna_sync::v1::SyncOptions;

use super::{assert_soon, disk, put_source, words};
use crate::image::record;
use crate::options;
use crate::original::{Image, Original, Reaction};
use crate::server::sync;

/// Listens, and does `what` with every connection; the address.
fn peer(what: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // It ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || what(stream));
        }
    });
    address
}

/// Reads what comes, for ever.
fn listen(mut stream: &TcpStream) {
    let mut bytes = [0; 4096];
    while matches!(stream.read(&mut bytes), Ok(read) if read > 0) {}
}

/// Answers the first request with these bytes and waits for the other to hang up.
fn say(mut stream: &TcpStream, bytes: &[u8]) {
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write_all(bytes);
    listen(stream);
}

fn impatient() -> SyncOptions {
    SyncOptions {
        connect_timeout: Duration::from_millis(100),
        request_timeout: Duration::from_millis(1500),
        ..options()
    }
}

/// What a sync to each of these peers ends in, all at the same time.
fn all_refused(peers: &[fn(TcpStream)]) -> Vec<Error> {
    let addresses = peers.iter().map(|what| peer(*what));
    let syncs: Vec<_> =
        addresses.map(|address| std::thread::spawn(move || refused(&address))).collect();
    syncs.into_iter().map(|sync| sync.join().expect("an error as it should be")).collect()
}

#[track_caller]
fn refused(address: &str) -> Error {
    let (_directory, source) = put_source();
    let begun = Instant::now();
    let error = sync(&source, address, &impatient()).expect_err("nobody to sync to");
    assert_soon(begun);
    assert!(words(&error).contains(address), "{}", words(&error));
    assert!(words(&error).len() < 1000, "{}", words(&error));
    assert!(!words(&error).contains(char::is_control), "{:?}", words(&error));
    assert!(error.remedy().is_some(), "{error:?}");
    error
}

#[test]
fn what_is_not_http_is_a_transport_error() {
    let errors = all_refused(&[
        |_| {},
        // It hangs up once it has been asked.
        |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
        },
        |stream| say(&stream, b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
        |stream| say(&stream, &[0, 255, 13, 10, 0, 1, 2, 3, 13, 10, 13, 10]),
        |stream| say(&stream, b"220 mail.example ESMTP\r\n"),
        |stream| say(&stream, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nt"),
        |stream| say(&stream, b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\ntrue"),
        // No end of the head, no end of the body.
        |mut stream| while stream.write_all(b"HTTP/1.1 200 OK\r\nX: y\r\n").is_ok() {},
        |mut stream: TcpStream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        },
    ]);
    for error in errors {
        let said = words(&error);
        let told = said.contains("did not answer open") || said.contains("its answer is no HTTP");
        assert!(told, "{said}");
    }
}

#[test]
fn a_banner_that_is_sent_at_once_is_no_answer() {
    let error = refused(&peer(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n");
        listen(&stream);
    }));
    // It may have come before anything could be asked.
    assert!(matches!(error, Error::NotHttp { .. } | Error::Transport { .. }), "{error:?}");
}

#[test]
fn http_that_is_not_ssync_is_called_that() {
    let errors = all_refused(&[
        |stream| say(&stream, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        |stream| {
            say(&stream, b"HTTP/1.1 301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n");
        },
        |stream| say(&stream, b"HTTP/1.1 204 No Content\r\n\r\n"),
        |stream| say(&stream, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"),
        |stream| say(&stream, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        |stream| say(&stream, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\x1b[m"),
    ]);
    for error in errors {
        assert!(matches!(error, Error::Answer { .. } | Error::Stranger { .. }), "{error:?}");
        assert!(words(&error).contains("does not speak"), "{}", words(&error));
    }
}

#[test]
fn a_peer_that_never_answers_is_waited_for_no_longer_than_asked() {
    let error = refused(&peer(|stream| listen(&stream)));
    assert!(matches!(error, Error::Transport { .. }), "{error:?}");
    assert!(words(&error).contains("no answer within"), "{}", words(&error));
}

#[test]
fn a_peer_that_stops_answering_is_waited_for_no_longer_than_asked() {
    let stopping_at = |name: &'static str| {
        let (_directory, source) = put_source();
        let image = (name == "getChecksum").then(|| Image::of(&disk()));
        let original = Original::reacting(image, None, move |seen| match seen.name() == name {
            true => Reaction::Ignore,
            false => Reaction::Obey,
        });
        let begun = Instant::now();
        let error = sync(&source, &original.address, &impatient()).unwrap_err();
        assert!(words(&error).contains(&format!("did not answer {name}")), "{}", words(&error));
        assert_soon(begun);
    };
    std::thread::scope(|scope| {
        for name in ["getChecksum", "sendHole", "writeData"] {
            scope.spawn(move || stopping_at(name));
        }
    });
}

#[test]
fn an_answer_that_is_no_digest_is_no_reason_to_send_or_to_skip() {
    for body in ["maybe", "\"AAAA\"", "{}", ""] {
        let (_directory, source) = put_source();
        let image = Image::of(&disk());
        let original = Original::reacting(Some(image), None, move |seen| match seen.name() {
            "getChecksum" => Reaction::Refuse(200, body),
            _ => Reaction::Obey,
        });
        let error = sync(&source, &original.address, &options()).unwrap_err();
        assert!(matches!(error, Error::Answer { .. }), "{error:?}");
        assert_eq!(original.closed_with(), (String::new(), String::new()));
    }
}

#[test]
fn a_failed_session_is_closed_without_a_checksum_and_after_a_range_that_fails() {
    for name in ["sendHole", "writeData"] {
        let (_directory, source) = put_source();
        record(&source);
        let original = Original::reacting(None, None, move |seen| {
            match seen.name() == name && !(name == "writeData" && seen.body.is_empty()) {
                true => Reaction::Refuse(500, "failed to write: no space left on device"),
                false => Reaction::Obey,
            }
        });
        let error = sync(&source, &original.address, &options()).unwrap_err();
        assert!(words(&error).contains("no space left on device"), "{}", words(&error));
        assert!(error.remedy().unwrap().contains("free some space"));
        original.assert_closed_last();
        assert_eq!(original.closed_with(), (String::new(), String::new()));
        let seen = original.seen();
        let [.., taint, _close] = seen.as_slice() else { panic!("too few") };
        assert_eq!(taint.target, "/v1-ssync/writeData?begin=0&end=4096");
        assert!(taint.body.is_empty());
    }
}
