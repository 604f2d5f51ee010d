//! Peers that misbehave, and disks and sources that do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lacuna::Cancel;
use lacuna_sync::Error;
use lacuna_sync::v2::{Images, LinkOptions, ServeOptions, Served, serve};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};
use lacuna_wire::{ClientHello, Header, Kinds, Message, Offer, Role, ServerHello, Stamp};

use crate::pair::{Wiring, session};

/// Patience of a server in these tests.
const SILENCE: Duration = Duration::from_millis(700);

/// A server on a thread of this process.
struct Server {
    address: SocketAddr,
    served: Receiver<Served>,
    cancel: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let last_words = Duration::from_millis(500);
        let link = LinkOptions { silence: SILENCE, last_words, ..LinkOptions::default() };
        let options = ServeOptions {
            link,
            max_sessions: 1,
            ..ServeOptions::new(Images::Under(root.to_owned()))
        };
        let (report, served) = channel();
        let cancel = Cancel::default();
        let asked = cancel.clone();
        let thread = std::thread::spawn(move || {
            let report = move |it| {
                // Whoever has seen enough has gone.
                let _ = report.send(it);
            };
            serve(listener, &options, None, report, &asked).unwrap();
        });
        Self { address, served, cancel, thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// A client that was let in, to write `name`.
    fn admitted(&self, name: &str) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(&hello(name).encode().unwrap()).unwrap();
        assert!(matches!(answer(&mut stream), ServerHello::Welcome { .. }));
        stream
    }

    /// How the session ended.
    fn failure(&self) -> String {
        self.served.recv_timeout(Duration::from_secs(20)).unwrap().ended.unwrap_err()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cancel.cancel();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

fn hello(path: &str) -> ClientHello {
    ClientHello {
        versions: (2, 2),
        program: "test".to_owned(),
        role: Role::Source,
        path: path.as_bytes().to_vec(),
        token: None,
        zstd: false,
        verify: false,
        compare_only: false,
        no_resume: false,
        mode: None,
    }
}

fn answer(stream: &mut TcpStream) -> ServerHello {
    let mut bytes = vec![0; 10];
    stream.read_exact(&mut bytes).unwrap();
    let length = lacuna_wire::hello_length(&bytes).unwrap().unwrap();
    bytes.resize(length, 0);
    stream.read_exact(&mut bytes[10..]).unwrap();
    ServerHello::decode(&bytes).unwrap()
}

fn frame(message: &Message<'_>) -> Vec<u8> {
    let mut payload = vec![];
    let tail = message.encode(&mut payload);
    payload.extend(tail);
    let header = Header::encode(message.kind(), false, &[&payload]).unwrap();
    [&header[..], &payload].concat()
}

fn offer(size: u64) -> Vec<u8> {
    let stamp = Stamp { device: 1, inode: 2, mtime: (3, 4), ctime: (5, 6) };
    frame(&Message::Offer(Offer { size, kinds: Kinds::Three, mode: 0o644, stamp }))
}

/// Reads until the other end hangs up, which it does soon.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = vec![];
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

#[test]
fn a_client_of_another_version_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut stream = server.connect();
    let hello = ClientHello { versions: (7, 9), ..hello("a.img") };
    stream.write_all(&hello.encode().unwrap()).unwrap();
    let ServerHello::Refusal { code: 3, words } = answer(&mut stream) else { panic!() };
    assert!(words.contains("versions 7 to 9"), "{words}");
}

#[test]
fn one_session_too_many_is_sent_away_and_the_first_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let first = server.admitted("a.img");
    let mut second = server.connect();
    second.write_all(&hello("b.img").encode().unwrap()).unwrap();
    let ServerHello::Refusal { code: 8, .. } = answer(&mut second) else { panic!() };
    drop(first);
}

#[test]
fn what_is_no_hello_is_sent_away_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 300], &[0x16, 3, 1, 2, 0, 1, 0, 1, 2]] {
        let mut stream = server.connect();
        stream.write_all(garbage).unwrap();
        let begun = Instant::now();
        rest(stream);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_hello_that_does_not_come_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut stream = server.connect();
    // A byte a second would take hours.
    stream.write_all(&lacuna_wire::MAGIC).unwrap();
    let begun = Instant::now();
    rest(stream);
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[test]
fn garbage_in_a_session_ends_it_and_leaves_nothing_with_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let header_of_too_much = [&[3, 0, 0, 0][..], &u32::MAX.to_le_bytes(), &[0; 8]].concat();
    let mut broken = offer(1 << 20);
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let runs = |first, blocks| {
        let mut runs = lacuna_wire::Runs::new(first);
        runs.push(lacuna_wire::Run { kind: lacuna_wire::Kind::Hole, blocks }).unwrap();
        frame(&Message::Data { runs, bytes: &[] })
    };
    let cases = [
        (vec![0xff; 4096], "flags"),
        (header_of_too_much, "too long"),
        (broken, "checksum"),
        (frame(&Message::Settle), "no Offer"),
        ([offer(1 << 20), frame(&Message::End([0; 32]))].concat(), "before all of the image"),
        ([offer(1 << 20), runs(16, 16)].concat(), "not the next one"),
        ([offer(1 << 20), runs(0, 3)].concat(), "whole chunks"),
        ([offer(1 << 20), runs(0, 1 << 40)].concat(), "whole chunks"),
        (
            [
                offer(1 << 20),
                frame(&Message::Done(lacuna_wire::Done {
                    receipt: [0; 32],
                    written: 0,
                    compared: 0,
                })),
            ]
            .concat(),
            "does not belong",
        ),
        ([offer(0), frame(&Message::End([9; 32]))].concat(), "receipts"),
    ];
    for (bytes, words) in cases {
        let mut stream = server.admitted("a.img");
        stream.write_all(&bytes).unwrap();
        let begun = Instant::now();
        rest(stream);
        assert!(begun.elapsed() < Duration::from_secs(5));
        let failure = server.failure();
        assert!(failure.contains(words), "{words}: {failure}");
        assert!(!directory.path().join("a.img").exists());
    }
}

#[test]
fn an_image_larger_than_any_disk_is_refused_with_the_systems_words() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let server = Server::start(mount.path());
    let mut stream = server.admitted("a.img");
    stream.write_all(&offer(i64::MAX as u64)).unwrap();
    rest(stream);
    let failure = server.failure();
    assert!(failure.starts_with("cannot resize .a.img.lacuna-data"), "{failure}");
}

#[test]
fn a_client_that_falls_silent_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut stream = server.admitted("a.img");
    stream.write_all(&offer(1 << 20)).unwrap();
    let begun = Instant::now();
    rest(stream);
    assert!(begun.elapsed() >= SILENCE && begun.elapsed() < Duration::from_secs(10));
    assert!(server.failure().contains("nothing was heard"));
}

#[test]
fn a_source_that_changes_fails_the_session() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (source, target) = (mount.path().join("a.img"), mount.path().join("b.img"));
    Pattern::whole(vec![Block::Data(1); 4096]).write(&source);
    let writer = std::fs::File::options().append(true).open(&source).unwrap();
    let changing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        writer.set_len(4095 * 4096).unwrap();
    });
    let rate = std::num::NonZeroU64::new(16 << 20);
    let mut wiring = Wiring::default();
    wiring.link.rate = rate;
    wiring.source.zstd = None;
    let ended = session(&source, &target, &wiring);
    changing.join().unwrap();
    assert!(matches!(ended.sent.unwrap_err(), Error::Image(_)));
    assert!(ended.received.is_err());
    assert!(!target.exists());
}

#[test]
fn two_sessions_do_not_write_to_one_target() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (source, target) = (mount.path().join("a.img"), mount.path().join("b.img"));
    Pattern::whole(vec![Block::Data(1); 64]).write(&source);
    Pattern::whole(vec![Block::Data(2); 64]).write(&target);
    let open = lacuna::Target::open(&target, &lacuna::TargetOptions::default()).unwrap();
    let ended = session(&source, &target, &Wiring::default());
    assert!(matches!(*ended.received.unwrap_err().cause, Error::Image(lacuna::Error::Busy { .. })));
    assert!(matches!(ended.sent.unwrap_err(), Error::Peer { code: 6, .. }));
    drop(open);
}
