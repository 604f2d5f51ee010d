//! Servers that cannot be had at once.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use lacuna::{Cancel, Progress};
use lacuna_sync::Error;
use lacuna_sync::v2::{Reach, Remote, SyncOptions, push};
use lacuna_testing::pattern::{Block, Pattern};
use lacuna_wire::ServerHello;

use crate::pair::opened;
use crate::peer::Peer;

/// A server that hangs up on one client after the other, with a code or without a word.
fn refusing(codes: Vec<Option<u16>>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        for code in codes {
            let mut client = Peer::new(listener.accept().unwrap().0);
            client.hello();
            if let Some(code) = code {
                let refusal = ServerHello::Refusal { code, words: "no".to_owned() };
                client.send(&refusal.encode().unwrap());
            }
        }
    });
    (address, thread)
}

/// The code that a push ends with that may be tried again and again.
fn code(source: &Path, codes: &[Option<u16>]) -> u16 {
    let (address, server) = refusing(codes.to_vec());
    let remote = Remote {
        reach: Reach::Tcp(address.to_string()),
        path: b"a.img".to_vec(),
        token: None,
        insecure: false,
    };
    let options = SyncOptions { retries: 5, ..SyncOptions::default() };
    let failed = push(
        &opened(source).unwrap(),
        &remote,
        &options,
        &Arc::new(Progress::default()),
        &Cancel::default(),
    );
    // It has had all the clients that it waits for.
    server.join().unwrap();
    let last = match *failed.unwrap_err().cause {
        Error::Tried { times, source } if times as usize == codes.len() && times > 1 => *source,
        error if codes.len() == 1 => error,
        error => panic!("{error:?}"),
    };
    let Error::SentAway { server: by, code, .. } = last else { panic!("{last:?}") };
    assert_eq!(by, address.to_string());
    code
}

#[test]
fn who_is_in_the_way_is_waited_for_when_that_may_be_this_client_itself() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("a.img");
    Pattern::whole(vec![Block::Data(1); 4]).write(&source);
    std::thread::scope(|scope| {
        for busy in [6, 8] {
            let source = &source;
            scope.spawn(move || {
                assert_eq!(code(source, &[Some(busy)]), busy, "the first try");
                assert_eq!(code(source, &[None, Some(busy), Some(5)]), 5, "a try after a loss");
            });
        }
    });
    assert_eq!(code(&source, &[None, Some(7)]), 7, "nothing that passes");
}
