//! Peers that do not keep to the protocol.

use std::time::{Duration, Instant};

use lacuna_wire::{Done, Kind, Message};

use crate::peer::{Server, frame, offer, runs};

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
    let done = frame(&Message::Done(Done { receipt: [0; 32], written: 0, compared: 0 }));
    let end = |byte| frame(&Message::End([byte; 32]));
    let cases = [
        (vec![0xff; 4096], "flags"),
        (header_of_too_much, "too long"),
        (broken, "checksum"),
        (frame(&Message::Settle), "no Offer"),
        ([offer(1 << 20), end(0)].concat(), "before all of the image"),
        ([offer(1 << 20), hole(16, 16)].concat(), "not the next one"),
        ([offer(1 << 20), hole(0, 3)].concat(), "whole chunks"),
        ([offer(1 << 20), hole(0, 1 << 40)].concat(), "whole chunks"),
        ([offer(1 << 20), done].concat(), "does not belong"),
        ([offer(0), end(9)].concat(), "receipts"),
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
