//! A server for one image, and more than one client.

use std::net::TcpListener;
use std::sync::Arc;

use lacuna::{Cancel, Progress};
use lacuna_sync::once::{OneImage, ReceiveOptions, receive};
use lacuna_testing::pattern::BLOCK;
use lacuna_wire::{Kind, Message, ServerHello, types};

use crate::peer::{Peer, hello, offer, runs};

#[test]
fn a_second_hello_leaves_the_figures_of_the_session_that_runs() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("a.img");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || {
        let mut peer = Peer::new(std::net::TcpStream::connect(address).unwrap());
        peer.send(&hello("a.img").encode().unwrap());
        let answer = peer.answer();
        (peer, answer)
    };
    let (progress, cancel) = (Arc::new(Progress::default()), Cancel::default());
    std::thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let image = OneImage::of(&image).unwrap();
            receive(&image, listener, &ReceiveOptions::default(), |_| {}, &progress, &cancel)
        });
        let (mut first, answer) = connect();
        assert!(matches!(answer, ServerHello::Welcome { .. }), "{answer:?}");
        first.send(&offer(32 * BLOCK));
        first.wait_for(types::ACCEPT);
        let bytes = vec![1; 16 * BLOCK as usize];
        first.say(&Message::Data { runs: runs(0, &[(Kind::Data, 16)]), bytes: &bytes });
        first.wait_for(types::CHECKED);
        let figures = || (progress.total_bytes.get(), progress.written_bytes.get());
        let before = figures();

        let (_second, answer) = connect();
        let after = figures();
        cancel.cancel();
        assert!(receiving.join().unwrap().is_err());
        assert!(matches!(answer, ServerHello::Refusal { .. }), "{answer:?}");
        assert_eq!([before, after], [(32 * BLOCK, 16 * BLOCK); 2]);
    });
}
