//! Our server on a port and a thread of its own, and our client against it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use lacuna::{Cancel, ImageOptions, IoMode, Progress, Source};
use lacuna_sync::v1::{self, ServeOptions, ServeStats, SyncOptions, SyncStats};
use lacuna_sync::{Error, Result};
use tokio::net::TcpSocket;

use crate::http::Http;

/// Nothing here takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that is cancelled when dropped.
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) progress: Arc<Progress>,
    cancel: Cancel,
    ended: Receiver<Result<ServeStats>>,
}

impl Server {
    /// Serves the image at `path`.
    pub(crate) fn of(path: &Path) -> Self {
        Self::with(path, &ServeOptions::default())
    }

    pub(crate) fn with(path: &Path, options: &ServeOptions) -> Self {
        let listener = lacuna_sync::listen(&["127.0.0.1:0".parse().unwrap()]).expect("listen");
        Self::on(listener, path, options)
    }

    pub(crate) fn on(listener: TcpListener, path: &Path, options: &ServeOptions) -> Self {
        let address = lacuna_sync::local_address(&listener).expect("a port").to_string();
        let cancel = Cancel::default();
        let (sender, ended) = channel();
        let progress = Arc::<Progress>::default();
        let (path, options, stop) = (path.to_owned(), options.clone(), cancel.clone());
        let counters = progress.clone();
        std::thread::spawn(move || {
            let ended = v1::serve(&path, listener, &options, &counters, &stop);
            let _ = sender.send(ended);
        });
        Self { address, progress, cancel, ended }
    }

    pub(crate) fn dial(&self) -> Http {
        Http::dial(&self.address)
    }

    /// How it ended, which it does by itself.
    #[track_caller]
    pub(crate) fn ended(&self) -> Result<ServeStats> {
        self.ended.recv_timeout(PATIENCE).expect("the server ends")
    }

    /// How it ended, an error.
    #[track_caller]
    pub(crate) fn failed(&self) -> Error {
        self.ended().expect_err("the server fails")
    }

    /// How it ended, by itself or because it was asked to.
    #[track_caller]
    pub(crate) fn stopped(&self) -> Result<ServeStats> {
        self.cancel.cancel();
        self.ended()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cancel.cancel();
        // Its files are closed then.
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}

/// Syncs `source` to a server that somebody else looks after.
pub(crate) fn sync(source: &Path, address: &str, options: &SyncOptions) -> Result<SyncStats> {
    sync_by(IoMode::Auto, source, address, options)
}

/// The same, by a source that is opened like this.
pub(crate) fn sync_by(
    io: IoMode,
    source: &Path,
    address: &str,
    options: &SyncOptions,
) -> Result<SyncStats> {
    let source = Arc::new(Source::open(source, &ImageOptions { io, ..ImageOptions::default() })?);
    v1::sync(source, address, options, &Arc::<Progress>::default(), &Cancel::default())
}

pub(crate) fn opened(source: &Path) -> Result<Arc<Source>> {
    Ok(Arc::new(Source::open(source, &ImageOptions::default())?))
}

/// A whole session: how it ended for the client, and for the server.
pub(crate) fn session(
    source: &Path,
    target: &Path,
    options: &SyncOptions,
) -> (Result<SyncStats>, Result<ServeStats>) {
    session_by(IoMode::Auto, source, target, options)
}

/// The same, by a source that is opened like this.
pub(crate) fn session_by(
    io: IoMode,
    source: &Path,
    target: &Path,
    options: &SyncOptions,
) -> (Result<SyncStats>, Result<ServeStats>) {
    let server = Server::of(target);
    let synced = sync_by(io, source, &server.address, options);
    // One that has not been opened goes on waiting for a client.
    let served = if synced.is_ok() { server.ended() } else { server.stopped() };
    (synced, served)
}

/// A port that answers nobody before somebody listens, and that nobody else can have.
pub(crate) fn quiet_port() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}
