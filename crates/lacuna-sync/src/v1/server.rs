//! The v1 server: one listener, one image, one session, then it ends.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use jiff::tz::TimeZone;
use lacuna::{Cancel, Counter, Progress};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

use super::handler::Handler;
use super::session::Line;
use super::store::Store;
use crate::error::{Error, Result};
use crate::traffic::Counted;
use crate::turn::Turn;
use crate::{listener, runtime};

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The zone that the `change_time` of a recorded `.checksum` is printed in.
    pub zone: TimeZone,
    /// The server ends when no request was in progress for so long.
    pub idle: Duration,
    /// A connection without a request is dropped after so long.
    pub keep_alive: Duration,
    /// A request whose body makes no headway for so long is given up.
    pub stall: Duration,
    /// Connections at the same time; more wait to be accepted.
    pub connections: usize,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            zone: TimeZone::UTC,
            idle: Duration::from_secs(300),
            keep_alive: Duration::from_secs(240),
            stall: Duration::from_secs(60),
            connections: 128,
        }
    }
}

/// What a server did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServeStats {
    /// Written to the image.
    pub written_bytes: u64,
    /// Read and hashed for the client to compare.
    pub compared_bytes: u64,
    /// All bytes on its connections, both ways.
    pub wire_bytes: u64,
}

/// How long answers under way may take to leave once the session is over.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Serves the image at `path` until a client has closed it, nobody asks for anything any more, or
/// `cancel`. An error means that the image is not complete, and says where what arrived is kept.
///
/// # Errors
///
/// [`Error::Incomplete`], [`Error::Mismatch`] and [`Error::Idle`] when the client did not finish;
/// `Cancelled`; or what was wrong with the image at the end.
pub fn serve(
    path: &Path,
    listener: TcpListener,
    options: &ServeOptions,
    progress: &Arc<Progress>,
    cancel: &Cancel,
) -> Result<ServeStats> {
    runtime::block_on(async {
        let listener = listener::adopt(listener)?;
        let places = Arc::new(Semaphore::new(options.connections));
        let mut session =
            Session::new(path, options, &Arc::default(), progress, cancel, &Arc::default());
        let ended = loop {
            tokio::select! {
                accepted = accept(&listener, &places) => match accepted {
                    Some((place, stream, _)) => session.serve(place, stream),
                    None => continue,
                },
                ended = session.ended() => break ended,
            }
        };
        drop(listener);
        session.finish(ended).await
    })
}

/// Why a session is over.
pub(crate) enum Ended {
    Closed(Result<()>),
    Idle,
    Cancelled,
}

/// The one session of a server, over as many connections as it is given.
pub(crate) struct Session {
    store: Arc<Store>,
    server: Server,
    closed: mpsc::UnboundedReceiver<Result<()>>,
    idle: Duration,
    progress: Arc<Progress>,
    cancel: Cancel,
}

impl Session {
    pub(crate) fn new(
        path: &Path,
        options: &ServeOptions,
        wire: &Arc<Counter>,
        progress: &Arc<Progress>,
        cancel: &Cancel,
        turn: &Arc<Turn>,
    ) -> Self {
        let store = Store::new(path, options.zone.clone(), progress.clone(), cancel.clone());
        let store = Arc::new(store);
        let (closing, closed) = mpsc::unbounded_channel();
        let handler = Arc::new(Handler::new(store.clone(), options.stall, closing, turn.clone()));
        let server = Server::new(handler, options, wire.clone());
        let (idle, progress, cancel) = (options.idle, progress.clone(), cancel.clone());
        Self { store, server, closed, idle, progress, cancel }
    }

    /// Answers what comes over one more connection.
    pub(crate) fn serve(&self, place: Place, stream: TcpStream) {
        self.server.serve(place, stream);
    }

    /// What says since when nobody has asked for anything.
    pub(crate) fn activity(&self) -> Arc<Activity> {
        self.server.activity.clone()
    }

    /// Waits for the end.
    pub(crate) async fn ended(&mut self) -> Ended {
        tokio::select! {
            Some(result) = self.closed.recv() => Ended::Closed(result),
            reason = stop(&self.server.activity, &self.server.handler, self.idle, &self.cancel) => reason,
        }
    }

    /// Lets answers that are on their way out still leave; says what the session came to.
    pub(crate) async fn finish(self, ended: Ended) -> Result<ServeStats> {
        let Self { store, server, progress, idle, .. } = self;
        if tokio::time::timeout(LAST_WORDS, server.graceful.shutdown()).await.is_err() {
            tracing::debug!("connections cut");
        }
        match ended {
            Ended::Closed(result) => result?,
            Ended::Idle => return Err(Error::Idle { after: idle, kept: store.abandon() }),
            Ended::Cancelled => return Err(Error::Cancelled { kept: store.abandon() }),
        }
        progress.done_bytes.set(progress.total_bytes.get());
        progress.finish();
        Ok(ServeStats::of(&progress, &server.wire))
    }
}

impl ServeStats {
    /// What was counted.
    pub(crate) fn of(progress: &Progress, wire: &Counter) -> Self {
        Self {
            written_bytes: progress.written_bytes.get(),
            compared_bytes: progress.compared_bytes.get(),
            wire_bytes: wire.get(),
        }
    }
}

/// What all connections have in common.
struct Server {
    handler: Arc<Handler>,
    activity: Arc<Activity>,
    http: http1::Builder,
    graceful: GracefulShutdown,
    wire: Arc<Counter>,
}

impl Server {
    fn new(handler: Arc<Handler>, options: &ServeOptions, wire: Arc<Counter>) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(options.keep_alive).half_close(false);
        let (activity, graceful) = (Arc::new(Activity::new()), GracefulShutdown::new());
        Self { handler, activity, http, graceful, wire }
    }

    /// Answers what comes over one connection, in a task of its own.
    fn serve(&self, place: Place, stream: TcpStream) {
        let line = Line::new(place);
        let (handler, activity, caller) =
            (self.handler.clone(), self.activity.clone(), line.clone());
        let service = service_fn(move |request| {
            let (handler, busy, line) = (handler.clone(), activity.begin(), caller.clone());
            // A task of its own begins at once and goes on when the client hangs up.
            tokio::spawn(async move {
                let answer = handler.answer(request, line).await;
                drop(busy);
                answer
            })
        });
        let stream = TokioIo::new(Counted::new(stream, self.wire.clone()));
        let connection = self.graceful.watch(self.http.serve_connection(stream, service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            line.close();
        });
    }
}

/// Where a connection may be.
pub(crate) type Place = tokio::sync::OwnedSemaphorePermit;

/// The next connection, when there is a place for it.
pub(crate) async fn accept(
    listener: &tokio::net::TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(Place, TcpStream, SocketAddr)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            tracing::debug!(%peer, "connection accepted");
            stream.set_nodelay(true).ok()?;
            Some((place, stream, peer))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// Waits for a reason to stop without `close`.
async fn stop(activity: &Activity, handler: &Handler, idle: Duration, cancel: &Cancel) -> Ended {
    loop {
        // What is being completed is let be completed.
        if cancel.is_cancelled() && !handler.is_closing() {
            return Ended::Cancelled;
        }
        if activity.idle_for() >= idle {
            return Ended::Idle;
        }
        tokio::time::sleep(runtime::POLL).await;
    }
}

/// Whether requests are in progress, and since when not.
pub(crate) struct Activity {
    requests: AtomicUsize,
    since: Mutex<Instant>,
}

/// A request in progress.
pub(crate) struct Busy(Arc<Activity>);

impl Activity {
    fn new() -> Self {
        Self { requests: AtomicUsize::new(0), since: Mutex::new(Instant::now()) }
    }

    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(1, Ordering::SeqCst);
        Busy(self.clone())
    }

    fn idle_for(&self) -> Duration {
        match self.requests.load(Ordering::SeqCst) {
            0 => self.since.lock().unwrap_or_else(PoisonError::into_inner).elapsed(),
            _ => Duration::ZERO,
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.requests.fetch_sub(1, Ordering::SeqCst);
    }
}
