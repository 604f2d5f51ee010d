//! How far a session is, for whoever watches it.

use std::sync::Arc;

use lacuna::{Cancel, Progress};
use lacuna_sync::v1;
use lacuna_testing::pattern::{Block, Pattern};

use crate::image::put;
use crate::options;
use crate::server::{Server, opened};

fn counts(progress: &Progress) -> [u64; 4] {
    let counters = [
        &progress.total_bytes,
        &progress.done_bytes,
        &progress.written_bytes,
        &progress.compared_bytes,
    ];
    counters.map(lacuna::Counter::get)
}

#[test]
fn a_server_counts_what_arrives_of_a_new_image_and_what_was_compared_of_an_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("disk.img");
    for existing in [false, true] {
        if existing {
            put(&target, &[8; 3 * 4096]);
        }
        let server = Server::of(&target);
        assert_eq!(counts(&server.progress), [0; 4]);
        let mut http = server.dial();
        http.open(3 * 4096, false);
        assert_eq!(counts(&server.progress), [3 * 4096, 0, 0, 0]);
        http.write(0, 4096, &[7; 4096]);
        let done = if existing { 0 } else { 4096 };
        assert_eq!(counts(&server.progress), [3 * 4096, done, 4096, 0]);
        http.hash(0, 4096);
        assert_eq!(counts(&server.progress), [3 * 4096, 4096, 4096, 4096]);
        http.write(4096, 3 * 4096, &[7; 8192]);
        assert_eq!(http.close("").status, 200);
        let progress = server.progress.clone();
        let stats = server.ended().unwrap();
        assert_eq!((stats.written_bytes, stats.compared_bytes), (3 * 4096, 4096));
        assert_eq!(counts(&progress), [3 * 4096, 3 * 4096, 3 * 4096, 4096]);
    }
}

#[test]
fn a_client_counts_to_the_bytes_that_are_allocated() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("source"), directory.path().join("target"));
    Pattern::whole(vec![Block::Data(1), Block::Hole, Block::Data(2), Block::Hole]).write(&source);
    for sent in [8192, 0] {
        let server = Server::of(&target);
        let progress = Arc::<Progress>::default();
        let synced = v1::sync(
            opened(&source).unwrap(),
            &server.address,
            &options(),
            &progress,
            &Cancel::default(),
        );
        let stats = synced.unwrap();
        server.ended().unwrap();
        assert_eq!((progress.total_bytes.get(), progress.done_bytes.get()), (8192, 8192));
        assert_eq!((progress.sent_bytes.get(), stats.sent_bytes), (sent, sent));
        assert_eq!(stats.compared_bytes, 8192 - sent);
        assert!(stats.wire_bytes > sent);
    }
}
