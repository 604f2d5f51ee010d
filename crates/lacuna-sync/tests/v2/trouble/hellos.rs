//! Who is let in.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use lacuna::receipt::Receipt;
use lacuna_wire::{Accept, ClientHello, End, Kinds, Message, Role, ServerHello, types};

use crate::peer::{Server, hello, offer};

#[test]
fn a_client_of_another_version_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut peer = server.connect();
    let hello = ClientHello { versions: (7, 9), ..hello("a.img") };
    peer.send(&hello.encode().unwrap());
    let ServerHello::Refusal { code: 3, words } = peer.answer() else { panic!() };
    assert!(words.contains("versions 7 to 9"), "{words}");
}

#[test]
fn one_session_too_many_is_sent_away_and_the_first_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let first = server.admitted("a.img");
    let mut second = server.connect();
    second.send(&hello("b.img").encode().unwrap());
    let ServerHello::Refusal { code: 8, .. } = second.answer() else { panic!() };
    drop(first);
}

#[test]
fn what_is_no_hello_is_sent_away_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 300], &[0x16, 3, 1, 2, 0, 1, 0, 1, 2]] {
        let mut peer = server.connect();
        peer.send(garbage);
        let begun = Instant::now();
        peer.rest();
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_hello_that_does_not_come_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut peer = server.connect();
    // A byte a second would take hours.
    peer.send(&lacuna_wire::MAGIC);
    let begun = Instant::now();
    peer.rest();
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_new_image_gets_the_permission_bits_of_the_client() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut peer = server.client(&ClientHello { mode: Some(0o751), ..hello("a.img") });
    peer.send(&offer(0));
    peer.wait_for(types::ACCEPT);
    let receipt = Receipt::default().finish(0);
    peer.say(&Message::End(End { receipt, ..End::default() }));
    peer.wait_for(types::DONE);
    peer.rest();
    assert_eq!(server.ended(), Ok(0));
    let metadata = std::fs::metadata(directory.path().join("a.img")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o751);
}

#[test]
fn whoever_says_nothing_makes_way_for_somebody_new() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut silent: Vec<_> = (0..64).map(|_| server.connect()).collect();
    // It has begun, and is the oldest all the same.
    silent[0].send(&lacuna_wire::MAGIC);
    let begun = Instant::now();
    let client = server.admitted("a.img");
    silent.remove(0).rest();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // The others were not in the way.
    let mut second = silent.remove(0);
    second.send(&hello("b.img").encode().unwrap());
    let ServerHello::Refusal { code: 8, .. } = second.answer() else { panic!() };
    drop(client);
}

#[test]
fn a_server_compresses_no_harder_than_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let text: String = (0..200_000u64).map(|n| format!("{} ", n * n % 7919)).collect();
    std::fs::write(directory.path().join("a.img"), &text[..1 << 19]).unwrap();
    let packed = |server: &Server, level| {
        let hello = ClientHello { role: Role::Target, zstd: Some(level), ..hello("a.img") };
        let mut peer = server.client(&hello);
        peer.wait_for(types::OFFER);
        peer.say(&Message::Accept(Accept { kinds: Kinds::Three, content_end: 0, total: 0 }));
        let packed = peer.wait_for(types::DATA);
        drop(peer);
        server.served();
        packed
    };
    let server = Server::start(directory.path());
    let third = packed(&server, 3);
    assert!(packed(&server, 19) == third && packed(&server, 1) != third);
    let generous = Server::with(directory.path(), |options| options.zstd_max = 19);
    assert!(packed(&generous, 3) == third && packed(&generous, 19) != third);
}
