//! Sessions that write nothing with peers that misbehave, and with servers that let nobody write.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lacuna::{Cancel, IoMode, Links, Progress};
use lacuna_sync::Error;
use lacuna_sync::v2::Role;
use lacuna_sync::v2::{
    Dry, Landing, LinkOptions, Reach, Remote, SyncOptions, plan_pull, plan_push, push,
};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{BLOCK, Block, Pattern};
use lacuna_wire::{
    Accept, Answered, Checked, ClientHello, DIGEST, Done, End, HEADER, Header, Kind, Kinds,
    Message, Planned, Run, Runs, ServerHello, hello_length, types,
};

use crate::dry::seen;
use crate::for_all;
use crate::pair::{Wiring, opened, plan};
use crate::peer::{Server, frame, hello, offer};

/// Blocks in a chunk, and its bytes.
const BLOCKS: u64 = 16;
const CHUNK: u64 = BLOCKS * BLOCK;

fn runs(first: u64, kind: Kind, blocks: u64) -> Runs {
    let mut runs = Runs::new(first);
    runs.push(Run { kind, blocks }).unwrap();
    runs
}

fn digests(first: u64, chunks: u64) -> Vec<u8> {
    let digests = vec![7; DIGEST * chunks as usize];
    let runs = runs(first * BLOCKS, Kind::Data, chunks * BLOCKS);
    frame(&Message::Digests { runs, digests: &digests })
}

fn layout(blocks: u64) -> Vec<u8> {
    frame(&Message::Layout(runs(0, Kind::Data, blocks)))
}

fn blocks(chunk: u64, blocks: u16, bytes: &[u8]) -> Vec<u8> {
    frame(&Message::Blocks { entries: vec![Answered { chunk, blocks }], bytes })
}

#[test]
fn garbage_in_a_dry_session_ends_it_and_leaves_everything_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    Pattern::whole(vec![Block::Data(1); 32]).write(&directory.path().join("a.img"));
    let before = seen(directory.path());
    let offered = offer(2 * CHUNK);
    let end = frame(&Message::End(End::default()));
    let data = frame(&Message::Data { runs: runs(0, Kind::Data, 1), bytes: &[1; 4096] });
    let cases = [
        (Dry::Plan, vec![data.clone()], "does not belong"),
        (Dry::Compare, vec![data], "does not belong"),
        (Dry::Plan, vec![digests(0, 2)], "does not belong"),
        (Dry::Compare, vec![layout(32)], "does not belong"),
        (Dry::Plan, vec![end.clone()], "before all of the image"),
        (Dry::Plan, vec![layout(16), end.clone()], "before all of the image"),
        (Dry::Plan, vec![layout(32), layout(32)], "not the next one"),
        (Dry::Plan, vec![layout(3)], "whole chunks"),
        (Dry::Compare, vec![digests(1, 1)], "not the next one"),
        (Dry::Compare, vec![digests(0, 2), end.clone()], "before all of the image"),
        (Dry::Compare, vec![digests(0, 2), blocks(0, 0xffff, &[1; 4096])], "does not belong"),
        (Dry::Compare, vec![digests(0, 2), blocks(1, 1, &[])], "not those that were wanted"),
        (Dry::Compare, vec![blocks(0, 0, &[])], "not those that were wanted"),
    ];
    for (dry, frames, words) in cases {
        let mut stream = server.client(&ClientHello { dry: Some(dry), ..hello("a.img") }).stream;
        stream.write_all(&[offered.clone(), frames.concat()].concat()).unwrap();
        rest(stream);
        let failure = server.failure();
        assert!(failure.contains(words), "{words}: {failure}");
        assert!(before == seen(directory.path()), "{words}");
    }
}

/// What is asked and not answered has a limit, as in a session that writes.
#[test]
fn a_source_that_answers_nothing_is_given_up_before_that_takes_memory() {
    const CHUNKS: u64 = 8192;
    let Some(mount) = Mount::new(Fs::Tmpfs) else { return };
    let target = File::create_new(mount.path().join("a.img")).unwrap();
    (0..2 * CHUNKS + 1).for_each(|chunk| target.write_all_at(&[1], chunk * CHUNK).unwrap());
    let server = Server::start(mount.path());
    let dry = Some(Dry::Compare);
    let mut stream = server.client(&ClientHello { dry, ..hello("a.img") }).stream;
    let answers = stream.try_clone().unwrap();
    let answers = std::thread::spawn(move || rest(answers));
    let parts = [digests(0, CHUNKS), digests(CHUNKS, CHUNKS), digests(2 * CHUNKS, 1)];
    stream.write_all(&[offer((2 * CHUNKS + 1) * CHUNK), parts.concat()].concat()).unwrap();
    // Until the other end has hung up.
    let alive = frame(&Message::Alive);
    for _ in (0..200).take_while(|_| stream.write_all(&alive).is_ok()) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let failure = server.failure();
    assert!(failure.contains("without an answer to what was wanted"), "{failure}");
    answers.join().unwrap();
}

/// Reads until the other end hangs up, which it does soon.
fn rest(mut stream: TcpStream) {
    let mut bytes = vec![];
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut bytes);
}

/// Lets one client in with an image of one chunk, and says the first `frames` to its Offer and the rest
/// to its End.
fn serve_once(frames: [Vec<u8>; 2]) -> Remote {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = vec![0; 10];
        stream.read_exact(&mut hello).unwrap();
        hello.resize(hello_length(&hello).unwrap().unwrap(), 0);
        stream.read_exact(&mut hello[10..]).unwrap();
        let welcome = ServerHello::Welcome { version: 2, program: String::new(), zstd: false };
        stream.write_all(&welcome.encode().unwrap()).unwrap();
        let [to_offer, to_end] = frames;
        next_frame(&mut stream);
        stream.write_all(&to_offer).unwrap();
        while let Some(kind) = next_frame(&mut stream).filter(|kind| *kind != types::END) {
            if kind == types::DIGESTS {
                stream
                    .write_all(&frame(&Message::Checked(Checked { chunks: 1, done: 0 })))
                    .unwrap();
            }
        }
        // Who has had enough does not wait for this.
        let _ = stream.write_all(&to_end);
        rest(stream);
    });
    Remote { reach: Reach::Tcp(address), path: b"a.img".to_vec(), token: None, insecure: false }
}

/// What sort of frame it is, if there is one more.
fn next_frame(stream: &mut TcpStream) -> Option<u8> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).ok()?;
    let header = Header::decode(&header).unwrap();
    stream.read_exact(&mut vec![0; header.length]).ok()?;
    Some(header.kind)
}

fn options() -> SyncOptions {
    let link =
        LinkOptions { last_words: Duration::from_millis(500), ..SyncOptions::default().link };
    SyncOptions { link, ..SyncOptions::default() }
}

fn planned(source: &Path, remote: &Remote, dry: Dry) -> lacuna_sync::Result<u64> {
    let (progress, cancel) = (Arc::new(Progress::default()), Cancel::default());
    let plan = plan_push(&opened(source)?, remote, dry, &options(), &progress, &cancel);
    plan.map(|plan| plan.written_bytes_max).map_err(|stopped| *stopped.cause)
}

#[test]
fn a_target_that_answers_out_of_turn_fails_the_session() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("a.img");
    Pattern::whole(vec![Block::Data(1); 16]).write(&source);
    let accept = |content_end| {
        frame(&Message::Accept(Accept { kinds: Kinds::Three, content_end, total: 0 }))
    };
    let end = frame(&Message::Planned(Planned { written: 5, ..Planned::default() }));
    let done = frame(&Message::Done(Done { receipt: [0; 32], written: 0, compared: 0, rest: 0 }));
    let checked = frame(&Message::Checked(Checked { chunks: 1, done: 0 }));
    let settle = frame(&Message::Settle);
    let (early, misplaced) = ("comes before the End", "does not belong there");
    for (dry, frames, why) in [
        (Dry::Plan, [end.clone(), vec![]], "is no Accept"),
        (Dry::Plan, [[accept(CHUNK), checked].concat(), vec![]], misplaced),
        (Dry::Plan, [accept(CHUNK), done.clone()], misplaced),
        (Dry::Compare, [[accept(CHUNK), end.clone()].concat(), vec![]], early),
        (Dry::Compare, [accept(CHUNK), settle], misplaced),
        (Dry::Compare, [accept(CHUNK), done], misplaced),
    ] {
        let error = planned(&source, &serve_once(frames), dry).unwrap_err();
        assert!(
            matches!(&error, Error::Wire(error) if error.to_string().ends_with(why)),
            "{error:?}"
        );
    }
    for dry in [Dry::Plan, Dry::Compare] {
        let remote = serve_once([accept(CHUNK), end.clone()]);
        assert_eq!(planned(&source, &remote, dry).unwrap(), 5);
    }
    // In a session that writes, it is no end.
    let remote = serve_once([accept(0), end]);
    let (progress, cancel) = (Arc::new(Progress::default()), Cancel::default());
    let error = *push(&opened(&source).unwrap(), &remote, &options(), &progress, &cancel)
        .unwrap_err()
        .cause;
    assert!(
        matches!(&error, Error::Wire(error) if error.to_string().ends_with(misplaced)),
        "{error:?}"
    );
}

#[test]
fn a_target_that_changes_while_it_is_compared_fails_the_session_and_a_plan_does_not_mind() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let target = directory.path().join("a.img");
    Pattern::whole(vec![Block::Data(1); 32]).write(&target);
    for dry in [Dry::Plan, Dry::Compare] {
        let mut stream = server.client(&ClientHello { dry: Some(dry), ..hello("a.img") }).stream;
        stream.write_all(&offer(0)).unwrap();
        assert_eq!(next_frame(&mut stream), Some(types::ACCEPT));
        File::options().write(true).open(&target).unwrap().write_all_at(b"other", 0).unwrap();
        stream.write_all(&frame(&Message::End(End::default()))).unwrap();
        rest(stream);
        let ended = server.served().ended;
        match dry {
            Dry::Plan => assert_eq!(ended, Ok(0)),
            Dry::Compare => assert!(ended.unwrap_err().contains("changed"), "of the target"),
        }
    }
}

#[test]
fn a_server_that_lets_nobody_write_plans_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (root, source) = (directory.path().join("root"), directory.path().join("a.img"));
    std::fs::create_dir(&root).unwrap();
    Pattern::whole(vec![Block::Data(1); 64]).write(&source);
    let server = Server::with(&root, |options| options.read_only = true);
    let remote = |name: &str| Remote {
        reach: Reach::Tcp(server.address.to_string()),
        path: name.as_bytes().to_vec(),
        token: None,
        insecure: false,
    };
    let before = seen(&root);
    for dry in [Dry::Plan, Dry::Compare] {
        assert_eq!(planned(&source, &remote("b.img"), dry).unwrap(), 64 * BLOCK);
        let served = server.served();
        assert_eq!((served.role, served.dry, served.ended), (Role::Source, Some(dry), Ok(0)));
        assert!(before == seen(&root));
        let outside = planned(&source, &remote("../a.img"), dry).unwrap_err();
        assert!(matches!(outside, Error::SentAway { code: 5, .. }), "{outside:?}");
        server.failure();
    }
    let (progress, cancel) = (Arc::new(Progress::default()), Cancel::default());
    let written = push(&opened(&source).unwrap(), &remote("b.img"), &options(), &progress, &cancel);
    assert!(matches!(*written.unwrap_err().cause, Error::SentAway { code: 7, .. }));
    server.failure();

    std::fs::copy(&source, root.join("b.img")).unwrap();
    std::os::unix::fs::symlink("b.img", root.join("link.img")).unwrap();
    let through_link = planned(&source, &remote("link.img"), Dry::Compare).unwrap_err();
    assert!(matches!(&through_link, Error::SentAway { words, .. } if words.contains("link.img")));
    server.failure();
    assert_eq!(planned(&source, &remote("b.img"), Dry::Compare).unwrap(), 0);
    server.served();
    let path = directory.path().join("none.img");
    let landing =
        Landing { path, io: IoMode::Auto, links: Links::Follow, mode: None, rebuild: None };
    let pulled =
        plan_pull(&remote("b.img"), &landing, Dry::Compare, &options(), &progress, &cancel);
    let pulled = pulled.unwrap();
    assert_eq!((pulled.written_bytes, pulled.target_exists), (Some(64 * BLOCK), Some(false)));
    assert!(!landing.path.exists());
}

#[test]
fn a_dry_session_that_is_cut_anywhere_leaves_everything_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    [&from, &to].into_iter().for_each(|directory| std::fs::create_dir(directory).unwrap());
    let (source, target) = (from.join("a.img"), to.join("b.img"));
    Pattern::whole((0..600).map(|n| Block::Data((n % 250) as u8 + 1)).collect()).write(&source);
    Pattern::whole((0..600).map(|n| Block::Data((n % 240) as u8 + 1)).collect()).write(&target);
    let before = seen(&to);
    for dry in [Dry::Plan, Dry::Compare] {
        let whole = plan(&source, &target, dry, &Wiring::default()).wire_bytes;
        for_all(20, 1..whole, |cut_at| {
            let wiring = Wiring { cut_at: Some(cut_at), ..Wiring::default() };
            let cut = plan(&source, &target, dry, &wiring);
            assert!(cut.by_source.is_err(), "the source has not heard what was found");
            assert!(before == seen(&to));
        });
    }
}
