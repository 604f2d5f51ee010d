//! Peers that do not keep to the protocol.

use std::fs::File;
use std::time::{Duration, Instant};

use lacuna::receipt::Receipt;
use lacuna_testing::pattern::{BLOCK, Block, Pattern};
use lacuna_wire::{ClientHello, Done, End, Kind, Message, Runs, types};

use crate::peer::{Server, frame, hello, offer, runs};

/// That of an image with a receipt of such bytes.
fn end(byte: u8) -> Message<'static> {
    Message::End(End { receipt: [byte; 32], ..End::default() })
}

#[test]
fn garbage_in_a_session_ends_it_and_leaves_nothing_with_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let header_of_too_much = [&[3, 0, 0, 0][..], &u32::MAX.to_le_bytes(), &[0; 8]].concat();
    let mut broken = offer(1 << 20);
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let hole = |first, blocks| {
        frame(&Message::Data { runs: runs(first, &[(Kind::Hole, blocks)]), bytes: &[] })
    };
    let done = frame(&Message::Done(Done { receipt: [0; 32], written: 0, compared: 0, rest: 0 }));
    let ended = |byte| frame(&end(byte));
    let cases = [
        (vec![0xff; 4096], "flags"),
        (header_of_too_much, "too long"),
        (broken, "checksum"),
        (frame(&Message::Settle), "no Offer"),
        ([offer(1 << 20), ended(0)].concat(), "before all of the image"),
        ([offer(1 << 20), hole(16, 16)].concat(), "not the next one"),
        ([offer(1 << 20), hole(0, 3)].concat(), "whole chunks"),
        ([offer(1 << 20), hole(0, 1 << 40)].concat(), "whole chunks"),
        ([offer(1 << 20), done].concat(), "does not belong"),
        ([offer(0), ended(9)].concat(), "receipts"),
    ];
    for (bytes, words) in cases {
        let mut peer = server.admitted("a.img");
        peer.send(&bytes);
        let begun = Instant::now();
        peer.rest();
        assert!(begun.elapsed() < Duration::from_secs(5));
        let failure = server.failure();
        assert!(failure.contains(words), "{words}: {failure}");
        assert!(!directory.path().join("a.img").exists());
    }
}

/// What a source is told that says `messages` once the target has accepted an image of `size` bytes.
fn told(server: &Server, size: u64, messages: &[Message<'_>]) -> String {
    let mut peer = server.admitted("a.img");
    peer.send(&offer(size));
    peer.wait_for(types::ACCEPT);
    messages.iter().for_each(|message| peer.say(message));
    let words = peer.told();
    peer.rest();
    assert_eq!(words, server.failure());
    words
}

#[test]
fn data_comes_behind_what_the_target_has_and_digests_come_in_front() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let size = 32 * BLOCK;
    let (first, second) = (runs(0, &[(Kind::Hole, 16)]), runs(16, &[(Kind::Hole, 16)]));
    let data = |runs: &Runs| Message::Data { runs: runs.clone(), bytes: &[] };
    let digests = |runs: &Runs| Message::Digests { runs: runs.clone(), digests: &[] };
    let wrong = "a message that does not belong there";
    assert!(told(&server, size, &[digests(&first)]).contains(wrong));
    assert!(told(&server, size, &[data(&first), digests(&second)]).contains(wrong));
    let both = [data(&first), data(&second), end(9)];
    assert!(told(&server, size, &both).contains("receipts"));

    let blocks = [vec![Block::Data(1); 16], vec![Block::Hole; 16]].concat();
    let told = |messages: &[Message<'_>]| {
        Pattern::whole(blocks.clone()).write(&directory.path().join("a.img"));
        told(&server, size, messages)
    };
    assert!(told(&[data(&first)]).contains(wrong));
    assert!(told(&[digests(&first), digests(&second)]).contains(wrong));
    assert!(told(&[digests(&first), data(&second), end(9)]).contains("receipts"));
}

#[test]
fn a_message_is_of_so_many_chunks_at_most() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let size = 8193 * 16 * BLOCK;
    let zeros = |chunks: u64| runs(0, &[(Kind::Zero, 16 * chunks)]);
    let data = |chunks| Message::Data { runs: zeros(chunks), bytes: &[] };
    assert!(told(&server, size, &[data(8193)]).contains("of too many chunks"));
    let fewer = [data(8192), end(0)];
    assert!(told(&server, size, &fewer).contains("before all of the image"));
}

#[test]
fn nothing_is_said_of_the_end_before_the_end() {
    let directory = tempfile::tempdir().unwrap();
    Pattern::whole(vec![Block::Data(1); 64]).write(&directory.path().join("a.img"));
    File::create(directory.path().join("empty.img")).unwrap();
    let server = Server::start(directory.path());
    let done = Message::Done(Done { receipt: [0; 32], written: 0, compared: 0, rest: 0 });
    for early in [&done, &Message::Settle] {
        // What it has not counted, it has not checked: there is no End.
        let mut target = server.having("a.img", 64 * BLOCK);
        target.say(early);
        assert!(target.told().contains("comes before the End"));
        target.rest();
        assert!(server.failure().contains("comes before the End"));
    }
    let mut target = server.having("empty.img", 0);
    for _ in 0..2 {
        target.wait_for(types::END);
        target.say(&Message::Settle);
    }
    assert!(target.told().contains("does not belong there"), "it settles once");
}

#[test]
fn all_of_an_image_is_settled_before_it_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let (size, hole) = (32 * BLOCK, |first| runs(first, &[(Kind::Hole, 16)]));
    let receipt = Receipt::default().finish(size);
    let end = Message::End(End { receipt, ..End::default() });
    let settled = |layout: &[Message<'_>]| {
        let mut peer = server.client(&ClientHello { verify: true, ..hello("a.img") });
        peer.send(&offer(size));
        peer.wait_for(types::ACCEPT);
        peer.say(&Message::Data { runs: runs(0, &[(Kind::Hole, 32)]), bytes: &[] });
        peer.say(&end);
        peer.wait_for(types::SETTLE);
        layout.iter().chain([&end]).for_each(|message| peer.say(message));
        peer.rest();
        server.ended()
    };
    for short in [&[][..], &[Message::Layout(hole(0))]] {
        let failure = settled(short).unwrap_err();
        assert!(failure.contains("before all of the image"), "{failure}");
        assert!(!directory.path().join("a.img").exists());
    }
    assert_eq!(settled(&[Message::Layout(hole(0)), Message::Layout(hole(16))]), Ok(0));
}
