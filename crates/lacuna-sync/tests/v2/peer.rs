//! A server in this process, and peers of it that are written by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lacuna::Cancel;
use lacuna_sync::v2::{Images, LinkOptions, ServeOptions, Served, serve};
use lacuna_wire::{
    Accept, ClientHello, HEADER, Header, Kind, Kinds, Message, Offer, Role, Run, Runs, ServerHello,
    types,
};

/// Patience of these servers.
pub(crate) const SILENCE: Duration = Duration::from_millis(700);

/// Patience of these tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a thread of this process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    served: Receiver<Served>,
    cancel: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(root: &Path) -> Self {
        Self::with(root, |_| {})
    }

    pub(crate) fn with(root: &Path, change: impl FnOnce(&mut ServeOptions)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let last_words = Duration::from_millis(500);
        let link = LinkOptions { silence: SILENCE, last_words, ..LinkOptions::default() };
        let mut options = ServeOptions {
            link,
            max_sessions: 1,
            ..ServeOptions::new(Images::Under(root.to_owned()))
        };
        change(&mut options);
        let (report, served) = channel();
        let cancel = Cancel::default();
        let asked = cancel.clone();
        let thread = std::thread::spawn(move || {
            let report = move |it| {
                // Whoever has seen enough has gone.
                let _ = report.send(it);
            };
            serve(listener, &options, None, report, &asked).unwrap();
        });
        Self { address, served, cancel, thread: Some(thread) }
    }

    pub(crate) fn connect(&self) -> Peer {
        Peer::new(TcpStream::connect(self.address).unwrap())
    }

    /// A client that was let in.
    pub(crate) fn client(&self, hello: &ClientHello) -> Peer {
        let mut peer = self.connect();
        peer.send(&hello.encode().unwrap());
        assert!(matches!(peer.answer(), ServerHello::Welcome { .. }));
        peer
    }

    /// A client that was let in, to write `name`.
    pub(crate) fn admitted(&self, name: &str) -> Peer {
        self.client(&hello(name))
    }

    /// A client that was let in, to have `name`, and has said that it may have something before
    /// `content_end`.
    pub(crate) fn having(&self, name: &str, content_end: u64) -> Peer {
        let mut peer = self.client(&ClientHello { role: Role::Target, ..hello(name) });
        peer.wait_for(types::OFFER);
        peer.say(&Message::Accept(Accept { kinds: Kinds::Three, content_end, total: 0 }));
        peer
    }

    /// How the session ended.
    pub(crate) fn ended(&self) -> Result<u64, String> {
        self.served().ended
    }

    pub(crate) fn served(&self) -> Served {
        self.served.recv_timeout(PATIENCE).unwrap()
    }

    pub(crate) fn failure(&self) -> String {
        self.ended().unwrap_err()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cancel.cancel();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// One end of a connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
}

impl Peer {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn say(&mut self, message: &Message<'_>) {
        self.send(&frame(message));
    }

    /// The bytes of a hello.
    pub(crate) fn hello(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 10];
        self.stream.read_exact(&mut bytes).unwrap();
        let length = lacuna_wire::hello_length(&bytes).unwrap().unwrap();
        bytes.resize(length, 0);
        self.stream.read_exact(&mut bytes[10..]).unwrap();
        bytes
    }

    /// The hello of the server.
    pub(crate) fn answer(&mut self) -> ServerHello {
        ServerHello::decode(&self.hello()).unwrap()
    }

    /// The next frame: its type, and its payload.
    pub(crate) fn hear(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header).unwrap();
        let header = Header::decode(&header).unwrap();
        let mut payload = vec![0; header.length];
        self.stream.read_exact(&mut payload).unwrap();
        header.check(&payload).unwrap();
        (header.kind, payload)
    }

    /// The payload of the next frame of this type; those before it are of no interest.
    pub(crate) fn wait_for(&mut self, wanted: u8) -> Vec<u8> {
        loop {
            let (kind, payload) = self.hear();
            if kind == wanted {
                return payload;
            }
            let message = Message::decode(kind, &payload).unwrap();
            assert!(!matches!(message, Message::Failed { .. }), "{message:?}");
        }
    }

    /// Why the other end has given up.
    pub(crate) fn wait_for_failed(&mut self) -> Message<'static> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let (kind, payload) = self.hear();
            if let Message::Failed { code, words } = Message::decode(kind, &payload).unwrap() {
                return Message::Failed { code, words };
            }
        }
        panic!("it goes on and on");
    }

    /// The same, for people.
    pub(crate) fn told(&mut self) -> String {
        let Message::Failed { words, .. } = self.wait_for_failed() else { unreachable!() };
        words
    }

    /// Reads until the other end hangs up.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        let mut bytes = vec![];
        // A reset is an end as well.
        let _ = self.stream.read_to_end(&mut bytes);
        bytes
    }
}

/// Of a client that has the image.
pub(crate) fn hello(path: &str) -> ClientHello {
    ClientHello {
        versions: (2, 2),
        program: "test".to_owned(),
        role: Role::Source,
        path: path.as_bytes().to_vec(),
        token: None,
        zstd: None,
        verify: false,
        dry: None,
        no_resume: false,
        rebuild: None,
        mode: None,
    }
}

pub(crate) fn frame(message: &Message<'_>) -> Vec<u8> {
    let mut payload = vec![];
    let tail = message.encode(&mut payload);
    payload.extend(tail);
    let header = Header::encode(message.kind(), false, &[&payload]).unwrap();
    [&header[..], &payload].concat()
}

pub(crate) fn offer(size: u64) -> Vec<u8> {
    frame(&Message::Offer(Offer { size, allocated: size, mode: 0o644 }))
}

/// Runs of so many blocks each, from the block `first` on.
pub(crate) fn runs(first: u64, runs: &[(Kind, u64)]) -> Runs {
    let mut all = Runs::new(first);
    runs.iter().for_each(|(kind, blocks)| all.push(Run { kind: *kind, blocks: *blocks }).unwrap());
    all
}
