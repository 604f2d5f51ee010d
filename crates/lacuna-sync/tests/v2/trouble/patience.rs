//! Peers that keep a session waiting.

use std::io::Write;
use std::num::NonZeroU64;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{BLOCK, Block, Pattern};
use lacuna_wire::{Message, types};

use crate::pair::{Wiring, session};
use crate::peer::{Peer, SILENCE, Server, frame, offer};

#[test]
fn a_client_that_falls_silent_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut peer = server.admitted("a.img");
    peer.send(&offer(1 << 20));
    let begun = Instant::now();
    peer.rest();
    assert!(begun.elapsed() >= SILENCE && begun.elapsed() < Duration::from_secs(10));
    assert!(server.failure().contains("nothing was heard"));
}

/// Says that it is there, and nothing else, until it is told to go.
fn only_be_there(peer: &mut Peer) -> String {
    only_say(&Message::Alive, peer)
}

/// Says this, and nothing else, until it is told to go.
fn only_say(message: &Message<'_>, peer: &mut Peer) -> String {
    let said = frame(message);
    let mut alive = Peer::new(peer.stream.try_clone().unwrap());
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let saying = std::thread::spawn(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            // The other end may have hung up by now.
            let _ = alive.stream.write_all(&said);
            sleep(SILENCE / 10);
        }
    });
    let told = peer.told();
    drop(stop);
    saying.join().unwrap();
    told
}

#[test]
fn a_peer_that_is_there_and_does_nothing_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    Pattern::whole(vec![Block::Data(1); 64]).write(&directory.path().join("b.img"));
    let server = Server::with(directory.path(), |options| options.link.standstill = 3 * SILENCE);
    let told = "nothing was done for 2 s";
    let begun = Instant::now();

    let mut source = server.admitted("a.img");
    source.send(&offer(1 << 20));
    source.wait_for(types::ACCEPT);
    let words = only_be_there(&mut source);
    assert!(words.contains(told), "{words}");
    assert!(server.failure().contains(told));

    let mut target = server.having("b.img", 64 * BLOCK);
    let words = only_be_there(&mut target);
    assert!(words.contains(told), "{words}");
    assert!(server.failure().contains(told));
    assert!(begun.elapsed() >= 6 * SILENCE);
}

#[test]
fn a_session_that_is_slow_does_not_stand_still() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (source, target) = (mount.path().join("a.img"), mount.path().join("b.img"));
    Pattern::whole(vec![Block::Data(1); 384]).write(&source);
    let mut wiring = Wiring::default();
    // A frame of 1 MiB takes 4 s, in which the target says no more than that it is there.
    wiring.line.rate = Some(256 << 10);
    wiring.line.room = 16 << 10;
    wiring.link.alive = Duration::from_millis(100);
    wiring.link.standstill = Duration::from_secs(2);
    let begun = Instant::now();
    session(&source, &target, &wiring).assert_done();
    assert!(begun.elapsed() > Duration::from_secs(4));
}

#[test]
fn a_target_shows_that_it_works_where_there_is_nothing_but_holes() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (source, target) = (mount.path().join("a.img"), mount.path().join("b.img"));
    Pattern::whole(vec![Block::Hole; 64]).write(&source);
    let before = [vec![Block::Data(1); 32], vec![Block::Hole; 32]].concat();
    Pattern::whole(before).write(&target);
    let ended = session(&source, &target, &Wiring::default());
    ended.assert_done();
    let count = |side: usize, wanted| {
        ended.said[side].frames.iter().filter(|(kind, _)| *kind == wanted).count()
    };
    assert_eq!((count(0, types::DIGESTS), count(0, types::DATA)), (1, 1));
    assert_eq!(count(1, types::CHECKED), 2);
}

#[test]
fn the_end_of_a_session_does_not_wait_for_its_rate() {
    let directory = tempfile::tempdir().unwrap();
    Pattern::whole(vec![Block::Data(1); 512]).write(&directory.path().join("a.img"));
    // A frame takes 16 s, and the next part of one comes after 16 s.
    for rate in [64 << 10, 1 << 10] {
        let server = Server::with(directory.path(), |options| {
            options.link.rate = NonZeroU64::new(rate);
            options.link.silence = Duration::from_secs(60);
        });
        let target = server.having("a.img", 0);
        let reading = std::thread::spawn(move || target.rest());
        sleep(Duration::from_millis(500));
        let begun = Instant::now();
        drop(server);
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?} at {rate}", begun.elapsed());
        reading.join().unwrap();
    }
}

#[test]
fn whoever_reads_at_a_limited_rate_is_not_taken_for_one_who_does_not() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (source, target) = (mount.path().join("a.img"), mount.path().join("b.img"));
    Pattern::whole(vec![Block::Data(1); 512]).write(&source);
    let mut wiring = Wiring::default();
    wiring.line.room = 16 << 10;
    // Each of two frames takes 4 s.
    wiring.link.rate = NonZeroU64::new(256 << 10);
    wiring.link.stall = Duration::from_secs(2);
    wiring.link.standstill = Duration::from_secs(2);
    session(&source, &target, &wiring).assert_done();
}

#[test]
fn a_peer_that_does_no_more_than_say_that_it_works_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    Pattern::whole(vec![Block::Data(1); 64]).write(&directory.path().join("b.img"));
    let server = Server::with(directory.path(), |options| {
        (options.link.standstill, options.link.longest_call) = (2 * SILENCE, 4 * SILENCE);
    });
    let given_up = |mut peer: Peer| {
        let begun = Instant::now();
        let words = only_say(&Message::Working, &mut peer);
        assert!(words.contains("nothing was done"), "{words}");
        assert!(server.failure().contains("nothing was done"));
        begun.elapsed()
    };

    // It has not begun.
    assert!(given_up(server.admitted("a.img")) < 4 * SILENCE);
    let mut source = server.admitted("a.img");
    source.send(&offer(1 << 20));
    source.wait_for(types::ACCEPT);
    assert!(given_up(source) > 4 * SILENCE);
    assert!(given_up(server.having("b.img", 64 * BLOCK)) > 4 * SILENCE);
}

#[test]
fn a_target_that_works_may_leave_what_is_sent_for_longer_than_a_stall() {
    let directory = tempfile::tempdir().unwrap();
    // More than the two ends of a connection have room for.
    Pattern::whole(vec![Block::Data(1); 8192]).write(&directory.path().join("a.img"));
    let server = Server::with(directory.path(), |options| options.link.stall = 2 * SILENCE);
    let mut target = server.having("a.img", 0);
    for _ in 0..60 {
        target.say(&Message::Working);
        sleep(SILENCE / 10);
    }
    let words = "it is enough".to_owned();
    target.say(&Message::Failed { code: 1, words });
    target.rest();
    let failure = server.failure();
    assert!(failure.contains("it is enough"), "{failure}");
}
