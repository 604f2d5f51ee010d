//! What may be under way, and what may wait.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use lacuna_testing::pattern::BLOCK;
use lacuna_wire::{Checked, DIGEST, Kind, Message, Wanted, types};

use crate::peer::{Server, offer, runs};

/// Chunks that may be unsettled.
const WINDOW: u64 = 8192;

/// An image of so many chunks, each with one block of data.
fn scattered(path: &Path, chunks: u64) -> u64 {
    let file = File::create(path).unwrap();
    (0..chunks).for_each(|chunk| file.write_all_at(&[7; 4096], chunk * 16 * BLOCK).unwrap());
    file.set_len(chunks * 16 * BLOCK).unwrap();
    chunks * 16 * BLOCK
}

/// Chunks that a message of digests, or of blocks, is about.
fn counted(kind: u8, payload: &[u8]) -> u64 {
    match Message::decode(kind, payload).unwrap() {
        Message::Digests { digests, .. } => (digests.len() / DIGEST) as u64,
        Message::Blocks { entries, .. } => entries.len() as u64,
        _ => 0,
    }
}

fn wanted(chunks: u64) -> Message<'static> {
    let want = |chunk| Wanted { chunk, missing: 1, differing: 0, digests: vec![] };
    Message::Want((0..chunks).map(want).collect())
}

#[test]
fn a_source_sends_no_more_digests_than_can_be_wanted_and_answered() {
    let directory = tempfile::tempdir().unwrap();
    let size = scattered(&directory.path().join("a.img"), WINDOW + 2000);
    let server = Server::with(directory.path(), |options| {
        options.link.silence = Duration::from_secs(60);
    });
    let mut target = server.having("a.img", size);
    let (mut asked, mut answered, mut more) = (0, 0, 0);
    while asked + more <= WINDOW {
        more = counted(types::DIGESTS, &target.wait_for(types::DIGESTS));
        asked += more;
    }
    // All of them were checked, and none is answered yet.
    target.say(&wanted(asked));
    target.say(&Message::Checked(Checked { chunks: asked, done: 0 }));
    while asked < WINDOW + 2000 {
        let (kind, payload) = target.hear();
        match kind {
            types::DIGESTS => asked += counted(kind, &payload),
            types::BLOCKS => answered += counted(kind, &payload),
            _ => {}
        }
        assert!(asked - answered <= WINDOW, "{asked} asked, {answered} answered");
    }
}

#[test]
fn wants_of_what_was_never_asked_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let size = scattered(&directory.path().join("a.img"), 10);
    let server = Server::start(directory.path());
    for (message, why) in [
        (wanted(11), "more chunks than it was asked about"),
        (Message::Checked(Checked { chunks: 11, done: 0 }), "counts what was never sent"),
    ] {
        let mut target = server.having("a.img", size);
        target.wait_for(types::DIGESTS);
        target.say(&message);
        assert!(target.told().contains(why));
        target.rest();
        assert!(server.failure().contains(why));
    }
}

#[test]
fn a_source_that_answers_no_want_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let chunks = 2 * WINDOW + 2;
    let path = directory.path().join("a.img");
    File::create(&path).unwrap().write_all_at(&[7; 4096], chunks * 16 * BLOCK - BLOCK).unwrap();
    let server = Server::with(directory.path(), |options| {
        options.link.silence = Duration::from_secs(60);
    });
    let mut source = server.admitted("a.img");
    source.send(&offer(chunks * 16 * BLOCK));
    source.wait_for(types::ACCEPT);
    let digests = vec![0; WINDOW as usize * DIGEST];
    let mut first = 0;
    for (count, waits) in [(WINDOW, true), (WINDOW, true), (1, false)] {
        let kinds = [(Kind::Data, 1), (Kind::Hole, 15)].repeat(count as usize);
        let digests = &digests[..count as usize * DIGEST];
        source.say(&Message::Digests { runs: runs(first * 16, &kinds), digests });
        first += count;
        let mut wanted = if waits { 0 } else { WINDOW };
        while wanted < WINDOW {
            let payload = source.wait_for(types::WANT);
            let Message::Want(wants) = Message::decode(types::WANT, &payload).unwrap() else {
                unreachable!()
            };
            // With a chaining value for each block, more would have no room in a frame.
            assert!(wants.len() <= 4096, "{}", wants.len());
            wanted += wants.len() as u64;
        }
    }
    assert!(source.told().contains("without an answer to what was wanted"));
}
