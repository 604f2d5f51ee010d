//! A line between a client and a server that a test watches, and can lose.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What becomes of a piece that a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives.
    Pass,
    /// It is lost and the server sees the connection closed, but the client does not.
    Lose,
    /// It is lost, and both see the connection closed.
    Cut,
}

/// What came from a client in one piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// The connection it came on, counted from 0.
    pub(crate) connection: usize,
    /// In bytes.
    pub(crate) length: usize,
    /// Bytes that had come in all, on all connections, this piece included.
    pub(crate) total: usize,
}

/// Listens on its own address and passes on what comes.
pub(crate) struct Relay {
    pub(crate) address: String,
    stopped: Arc<AtomicBool>,
}

impl Relay {
    /// To the server at `server`. `fate` is asked about every piece that comes from a client.
    pub(crate) fn to(server: &str, fate: impl Fn(Piece) -> Fate + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("a port").to_string();
        let stopped = Arc::new(AtomicBool::new(false));
        let (server, stop) = (server.to_owned(), stopped.clone());
        let (fate, total) = (Arc::new(fate), Arc::new(AtomicUsize::new(0)));
        std::thread::spawn(move || {
            for (connection, client) in listener.incoming().map_while(Result::ok).enumerate() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(server) = TcpStream::connect(&server) else { continue };
                let (fate, total) = (fate.clone(), total.clone());
                let judge = move |length| {
                    let total = total.fetch_add(length, Ordering::SeqCst) + length;
                    fate(Piece { connection, length, total })
                };
                connect(client, server, judge);
            }
        });
        Self { address, stopped }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}

fn connect(client: TcpStream, server: TcpStream, judge: impl Fn(usize) -> Fate + Send + 'static) {
    let (from, to) = (client.try_clone().expect("clone"), server.try_clone().expect("clone"));
    let lost = Arc::new(AtomicBool::new(false));
    let silent = lost.clone();
    std::thread::spawn(move || {
        pump(from, &to, |length| {
            let fate = judge(length);
            if fate == Fate::Lose {
                silent.store(true, Ordering::SeqCst);
                let _ = to.shutdown(Shutdown::Both);
            }
            fate
        });
        let _ = to.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        pump(server, &client, |_| match lost.load(Ordering::SeqCst) {
            true => Fate::Lose,
            false => Fate::Pass,
        });
        if !lost.load(Ordering::SeqCst) {
            let _ = client.shutdown(Shutdown::Both);
        }
    });
}

/// Passes on what comes until there is no more or it is cut.
fn pump(mut from: TcpStream, mut to: &TcpStream, judge: impl Fn(usize) -> Fate) {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let length = match from.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        match judge(length) {
            Fate::Cut => return drop(from.shutdown(Shutdown::Both)),
            Fate::Lose => {}
            Fate::Pass if to.write_all(&bytes[..length]).is_err() => return,
            Fate::Pass => {}
        }
    }
}
