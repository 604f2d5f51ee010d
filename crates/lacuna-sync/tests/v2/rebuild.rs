//! Copies to one replica directory at once: one of them is what the directory holds, or none is complete.

use std::fs;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Barrier};

use lacuna::chain::{ChainError, Files, Rebuild, VolumeMeta};
use lacuna::copy::CopyOptions;
use lacuna::{Cancel, ImageOptions, Kept, Source};
use lacuna_sync::replica::{Place, ReplicaOptions, sync};
use lacuna_sync::v2::{Reach, Remote, SyncOptions, push};
use lacuna_sync::{Error, Result};
use lacuna_testing::mount::Fs;
use lacuna_testing::pattern::{Block, Pattern};
use lacuna_testing::replica::Replica;
use lacuna_wire::{Ask, ClientHello, Message, Role, Verb};

use crate::peer::{Peer, Server};
use crate::replica::{Two, WAYS, Way, held, keeper, small};

const FIRST: Rebuild = Rebuild(1);
const SECOND: Rebuild = Rebuild(2);

fn is_overtaken(error: &lacuna::Error) -> bool {
    matches!(error, lacuna::Error::Chain(ChainError::Overtaken { .. }))
}

fn volume(directory: &Path) -> String {
    fs::read_to_string(directory.join("volume.meta")).unwrap()
}

/// The image of a rebuild, sent to a server.
fn send(server: &Server, name: &str, rebuild: Option<Rebuild>) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source.img");
    Pattern::whole(vec![Block::Data(7); 4]).write(&source);
    let source = Arc::new(Source::open(&source, &ImageOptions::default()).unwrap());
    let remote = Remote {
        reach: Reach::Tcp(server.address.to_string()),
        path: name.as_bytes().to_vec(),
        token: None,
        insecure: false,
    };
    let options = SyncOptions { rebuild, ..SyncOptions::default() };
    let pushed = push(&source, &remote, &options, &Arc::default(), &Cancel::default());
    let served = server.ended();
    let pushed = pushed.map(drop).map_err(|stopped| lacuna::describe(&*stopped.cause));
    assert_eq!(served.is_ok(), pushed.is_ok(), "{served:?} {pushed:?}");
    pushed
}

#[test]
fn nothing_of_a_copy_is_written_that_another_has_followed() {
    let Some(two) = Two::on(Fs::Ext4) else { return };
    two.write(&small(), &two.target);
    let (files, complete) = (Files::of(&two.target), held(&two.target));
    let text = volume(&two.target);
    let server = Server::start(two.target.parent().unwrap());
    files.begin(text.as_bytes(), FIRST).unwrap();
    send(&server, "b/volume-snap-x.img", Some(FIRST)).unwrap();
    files.begin(text.as_bytes(), SECOND).unwrap();
    let before = held(&two.target);
    assert!(before != complete);

    for name in ["volume-snap-x.img", "volume-snap-new.img"] {
        let told = send(&server, &format!("b/{name}"), Some(FIRST)).unwrap_err();
        assert!(told.contains("volume.meta of b is not that of this copy any more"), "{told}");
        assert!(told.contains("another copy, or an engine, is at work"), "{told}");
    }
    assert!(is_overtaken(&files.end(b"{}", FIRST).unwrap_err()));
    assert!(is_overtaken(&FIRST.enter(&two.target.join("volume-snap-x.img")).unwrap_err()));
    for verb in [Verb::Put, Verb::Remove, Verb::End] {
        let mut peer = server.client(&ClientHello { rebuild: Some(FIRST.0), ..keeper("b") });
        let name = if verb == Verb::End { "" } else { "revision.counter" }.to_owned();
        peer.say(&Message::Ask { ask: Ask { verb, last: true, name }, bytes: b"{}" });
        assert!(peer.told().contains("not that of this copy"), "{verb:?}");
        server.failure();
    }
    assert!(held(&two.target) == before);

    send(&server, "b/volume-snap-x.img", Some(SECOND)).unwrap();
    files.end(text.as_bytes(), SECOND).unwrap();
    assert_eq!(volume(&two.target), text);
    files.end(text.as_bytes(), SECOND).expect("the answer may have been lost");
    assert!(is_overtaken(&SECOND.enter(&two.target.join("volume-snap-x.img")).unwrap_err()));
}

/// It would take the directory from under an image that is being written.
#[test]
fn a_copy_does_not_begin_while_another_writes() {
    let Some(two) = Two::on(Fs::Ext4) else { return };
    two.write(&small(), &two.source);
    two.write(&small(), &two.target);
    Files::of(&two.target).begin(volume(&two.target).as_bytes(), FIRST).unwrap();
    let before = held(&two.target);
    let entered = FIRST.enter(&two.target.join("volume-snap-x.img")).unwrap();
    for way in WAYS {
        let error = two.sync(way).unwrap_err();
        let words = lacuna::describe(&error);
        assert!(words.contains("in use by another process"), "{way:?}: {words}");
        assert!(held(&two.target) == before, "{way:?}");
    }
    drop(entered);
    two.sync(Way::Local).unwrap();
    two.assert_same();
}

#[test]
fn of_many_that_begin_at_once_in_a_new_directory_the_last_one_counts() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::of(&directory.path().join("new"));
        files.make().unwrap();
        let begun: Vec<_> = std::thread::scope(|scope| {
            let begin = |number| {
                let files = &files;
                scope.spawn(move || {
                    files.begin(b"{\"Size\":0,\"Head\":\"volume-head-000.img\"}", Rebuild(number))
                })
            };
            let threads: Vec<_> = (0..4).map(begin).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(begun.iter().all(|begun| begun.is_ok()), "{begun:?}");
        let is_there = |number| Rebuild(number).enter(&files.path("volume-snap-x.img")).is_ok();
        assert_eq!((0..4).filter(|number| is_there(*number)).count(), 1);
        assert_eq!(files.list().unwrap().into_iter().collect::<Vec<_>>(), [VolumeMeta::NAME]);
        assert!(volume(&directory.path().join("new")).contains("\"Rebuilding\":true"));
    }
}

fn line(value: u8, layers: usize) -> Replica {
    Replica::line(vec![Pattern::whole(vec![Block::Data(value); 300]); layers])
}

/// Whichever of them says that it is complete, it is, unless the other took the directory after it.
#[test]
fn two_copies_at_once_are_never_mixed() {
    let Some(two) = Two::on(Fs::Ext4) else { return };
    let other = two.source.with_file_name("c");
    two.write(&line(1, 6), &two.source);
    two.write(&line(2, 5), &other);
    let sources = [held(&two.source), held(&other)];
    let server = Server::start(two.target.parent().unwrap());
    let there = Place::There(Remote {
        reach: Reach::Tcp(server.address.to_string()),
        path: b"b".to_vec(),
        token: None,
        insecure: false,
    });
    let mut completed = 0;
    for round in 0..12 {
        let _ = fs::remove_dir_all(&two.target);
        let start = Barrier::new(2);
        let copy = |source: &Path, target: &Place| {
            start.wait();
            let options = ReplicaOptions {
                sync: SyncOptions { threads: 1, ..SyncOptions::default() },
                copy: CopyOptions::default(),
                force: false,
            };
            let source = Place::Here(source.to_owned());
            let copied = sync(&source, target, &options, &Arc::default(), &Cancel::default());
            copied.map_err(|stopped| *stopped.cause)
        };
        let here = Place::Here(two.target.clone());
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| copy(&two.source, &here));
            let second = scope.spawn(|| copy(&other, if round % 2 == 0 { &there } else { &here }));
            (first.join().unwrap(), second.join().unwrap())
        });
        for ended in [&first, &second] {
            assert!(ended.as_ref().err().is_none_or(is_of_the_other), "{ended:?}");
        }
        let target = held(&two.target);
        match volume(&two.target).contains("LacunaRebuild") {
            true => assert!(first.is_err() && second.is_err(), "round {round}"),
            false => {
                completed += 1;
                assert!(sources.contains(&target), "round {round}: {:?}", target.keys());
            }
        }
    }
    assert!(completed > 0);
}

/// Whether a copy failed because of another.
fn is_of_the_other(error: &Error) -> bool {
    let words = lacuna::describe(error);
    ["not that of this copy", "in use by another", "changed while", "open for writing"]
        .iter()
        .any(|part| words.contains(part))
}

/// To `server`, and loses the answers of sessions that write small files, but those of every second one of
/// them if `every_other`. Returns where.
fn lossy(server: SocketAddr, every_other: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut written = 0;
        for stream in listener.incoming() {
            let mut client = Peer::new(stream.unwrap());
            let hello = client.hello();
            let mut server = Peer::new(TcpStream::connect(server).unwrap());
            server.send(&hello);
            let hello = ClientHello::decode(&hello).unwrap();
            let writes = hello.role == Role::Keeper && hello.dry.is_none();
            written += usize::from(writes);
            let is_lost = writes && (!every_other || written % 2 == 1);
            let asks = [&client, &server].map(|peer| peer.stream.try_clone().unwrap());
            std::thread::spawn(move || forward(asks));
            if is_lost {
                client.send(&server.hello());
                server.rest();
                // Both of its names.
                let _ = client.stream.shutdown(Shutdown::Both);
            } else {
                std::thread::spawn(move || forward([server.stream, client.stream]));
            }
        }
    });
    address
}

fn forward([mut from, mut to]: [TcpStream; 2]) {
    // Whoever hangs up has had enough.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// What was done is done again, and the end is fine when it has ended already.
#[test]
fn a_copy_whose_answers_are_lost_is_complete_all_the_same() {
    let Some(two) = Two::on(Fs::Ext4) else { return };
    two.write(&small(), &two.source);
    two.write(&line(3, 4), &two.target);
    let server = Server::start(two.target.parent().unwrap());
    let target = |every_other| {
        let reach = Reach::Tcp(lossy(server.address, every_other).to_string());
        Place::There(Remote { reach, path: b"b".to_vec(), token: None, insecure: false })
    };
    let copy = |target: &Place, retries| {
        let options = ReplicaOptions {
            sync: SyncOptions { retries, ..SyncOptions::default() },
            ..ReplicaOptions::default()
        };
        let source = Place::Here(two.source.clone());
        sync(&source, target, &options, &Arc::default(), &Cancel::default())
    };
    let stopped = copy(&target(false), 0).unwrap_err();
    assert!(volume(&two.target).contains("\"Rebuilding\":true"));
    assert_eq!(stopped.kept, Kept::HalfRebuilt("b".into()), "{stopped}");
    copy(&target(true), 1).unwrap();
    two.assert_same();
}

/// The engine takes a key in any letters, and of two of them the last.
#[test]
fn a_directory_says_that_it_is_rebuilt_whatever_letters_the_source_writes_that_in() {
    let directory = tempfile::tempdir().unwrap();
    let files = Files::of(directory.path());
    files.begin(b"{\"Size\":0,\"rebuilding\":false,\"REBUILDING\":false}", FIRST).unwrap();
    let text = volume(directory.path());
    assert_eq!(text.to_lowercase().matches("\"rebuilding\":").count(), 1, "{text}");
    assert!(text.contains("\"Rebuilding\":true"), "{text}");
}
