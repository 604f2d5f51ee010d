//! A stream and the two tasks that carry frames over it, for threads that block.
//!
//! Whatever ends the session, its first cause is kept, everybody who waits is woken, and the peer is
//! told in a last frame as far as it still listens.

mod pace;
mod reader;
mod writer;

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lacuna::{BufPool, Cancel};
use lacuna_wire::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::frames::{Arrived, Outgoing, pool};
use crate::error::{Error, Result};
use crate::runtime::POLL;
pub use pace::LEAST_RATE;
use pace::Pace;
use reader::Reader;
use writer::Writer;

/// Frames that wait, each way.
const QUEUE: usize = 4;

/// When a link is given up, and how fast it may be.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// Something is sent at least so often, and be it whether this end is at work.
    pub alive: Duration,
    /// Nothing was received for so long: nobody is there.
    pub silence: Duration,
    /// Nothing could be sent for so long: nobody reads.
    pub stall: Duration,
    /// Nothing came or went for so long that shows more than that somebody is there: nobody works.
    pub standstill: Duration,
    /// A single call of the system counts as work for so long, and what a peer says of nothing else.
    pub longest_call: Duration,
    /// What is still to be said, and to be heard, at the end may take so long.
    pub last_words: Duration,
    /// Bytes a second, each way, at least [`LEAST_RATE`].
    pub rate: Option<NonZeroU64>,
}

/// Another name for a directory, which the peer reads in the words of an error.
#[derive(Clone, Debug, Default)]
pub(super) struct Alias {
    /// As this end has it, with a slash at its end.
    pub(super) path: String,
    /// As the other end is told, likewise; nothing for where its names begin.
    pub(super) shown: String,
}

impl Alias {
    pub(super) fn applied(&self, words: &str) -> String {
        let Some(directory) = self.path.strip_suffix('/').filter(|path| !path.is_empty()) else {
            return words.to_owned();
        };
        let alone = self.shown.strip_suffix('/').unwrap_or(".");
        let mut parts = words.split(directory);
        let mut told = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = match part.strip_prefix('/') {
                Some(rest) => (&*self.shown, rest),
                // A longer name that begins like this one.
                None if part.starts_with(char::is_alphanumeric) => (directory, part),
                None => (alone, part),
            };
            told.extend([name, rest]);
        }
        told
    }
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            alive: Duration::from_secs(10),
            silence: Duration::from_secs(60),
            stall: Duration::from_secs(600),
            standstill: Duration::from_secs(600),
            longest_call: Duration::from_secs(3600),
            last_words: Duration::from_secs(5),
            rate: None,
        }
    }
}

/// One end of a stream of frames.
pub(super) struct Link {
    pub(super) pool: BufPool,
    outgoing: mpsc::Sender<Outgoing>,
    incoming: Mutex<mpsc::Receiver<Arrived>>,
    fate: Arc<Fate>,
    writer: JoinHandle<()>,
    reader: JoinHandle<()>,
    /// Ends with the link.
    watch: JoinSet<()>,
    longest_call: Duration,
    last_words: Duration,
}

/// A thread that panics ends the session: nobody waits for what it will never do.
pub(super) struct PanicGuard(Arc<Fate>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let source = std::io::Error::other("a thread of the session panicked");
            self.0.fail(Error::Runtime { source });
        }
    }
}

/// How a session ends before its time.
struct Fate {
    failure: Mutex<Option<Error>>,
    alias: Arc<Alias>,
    over: watch::Sender<bool>,
    /// When anything but Alive last came or went.
    moved: Mutex<Instant>,
    /// The same, without what the peer says of its work: `None` before the first.
    shown: Mutex<Option<Instant>>,
    /// Whether this end has done anything since it last said that.
    worked: AtomicBool,
    /// Until when it counts as at work, whatever it does.
    in_call: Mutex<Option<Instant>>,
}

impl Fate {
    fn new(alias: Arc<Alias>) -> Self {
        let (over, moved) = (watch::Sender::new(false), Mutex::new(Instant::now()));
        let (shown, worked, in_call) = Default::default();
        Self { failure: Mutex::default(), alias, over, moved, shown, worked, in_call }
    }

    /// The first failure counts.
    fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.over.send_replace(true);
    }

    fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    async fn over(&self) {
        // The sender is here: it cannot be gone.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    fn moves(&self) {
        let now = Instant::now();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// The peer says that it works, which counts for so long after what shows it.
    fn hears_of_work(&self, longest: Duration) {
        let shown = *self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.is_some_and(|shown| shown.elapsed() < longest) {
            *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    /// For how long nothing has come or gone that counts.
    fn stands_still(&self) -> Duration {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// What is said by whoever has nothing else to say.
    fn sign(&self) -> Message<'static> {
        let in_call = self.in_call.lock().unwrap_or_else(PoisonError::into_inner);
        let is_at_it = in_call.is_some_and(|until| Instant::now() < until);
        match self.worked.swap(false, Ordering::Relaxed) || is_at_it {
            true => Message::Working,
            false => Message::Alive,
        }
    }

    /// What the peer is told.
    fn last_words(&self) -> Option<Outgoing> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = failure.as_ref().filter(|failure| failure.is_news_to_peer())?;
        let words = self.alias.applied(&failure.words());
        let message = Message::Failed { code: failure.code(), words };
        Outgoing::new(&message).ok()
    }
}

impl Link {
    /// Takes over `stream`, on the runtime that this is called on.
    pub(super) fn new<S>(
        stream: S,
        options: &LinkOptions,
        alias: Arc<Alias>,
        cancel: &Cancel,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (pool, fate) = (pool(), Arc::new(Fate::new(alias)));
        let (outgoing, to_write) = mpsc::channel(QUEUE);
        let (read, incoming) = mpsc::channel(QUEUE);
        let (from, to) = tokio::io::split(stream);
        let writer = Writer { stream: to, pace: Pace::new(options.rate), options: options.clone() };
        let reader = Reader {
            stream: from,
            pace: Pace::new(options.rate),
            options: options.clone(),
            pool: pool.clone(),
        };
        let mut watch = JoinSet::new();
        watch.spawn(watching(fate.clone(), cancel.clone()));
        let writer = tokio::spawn(writer.run(to_write, fate.clone()));
        let reader = tokio::spawn(reader.run(read, fate.clone()));
        let incoming = Mutex::new(incoming);
        let (longest_call, last_words) = (options.longest_call, options.last_words);
        Self { pool, outgoing, incoming, fate, writer, reader, watch, longest_call, last_words }
    }

    /// Waits until there is room for `frame`. Blocks.
    pub(super) fn send(&self, frame: Outgoing) -> Result<()> {
        self.check()?;
        self.outgoing.blocking_send(frame).map_err(|_| Error::Ended)
    }

    pub(super) fn say(&self, message: &Message<'_>) -> Result<()> {
        self.send(Outgoing::new(message)?)
    }

    /// The next frame of the peer. Blocks.
    pub(super) fn recv(&self) -> Result<Arrived> {
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        incoming.blocking_recv().ok_or(Error::Ended)
    }

    /// To be called whenever something was read, written or cleared: the session does not stand still.
    pub(super) fn works(&self) {
        self.fate.worked.store(true, Ordering::Relaxed);
    }

    /// Makes a `call` of the system that does all of its work at once, like a sync: nobody sees how far it is.
    pub(super) fn in_call<T>(&self, call: impl FnOnce() -> T) -> T {
        let in_call = || self.fate.in_call.lock().unwrap_or_else(PoisonError::into_inner);
        *in_call() = Some(Instant::now() + self.longest_call);
        let done = call();
        *in_call() = None;
        done
    }

    /// [`Error::Ended`] once the session has failed anywhere.
    pub(super) fn check(&self) -> Result<()> {
        if self.fate.is_over() { Err(Error::Ended) } else { Ok(()) }
    }

    /// Ends the session: the first failure counts, and everybody who waits is woken.
    pub(super) fn fail(&self, error: Error) -> Error {
        if !matches!(error, Error::Ended) {
            self.fate.fail(error);
        }
        Error::Ended
    }

    /// To be held by a thread that works for the session.
    pub(super) fn guard(&self) -> PanicGuard {
        PanicGuard(self.fate.clone())
    }

    /// Lets what is still to be said leave, and returns what `session` came to.
    pub(super) async fn close<T>(self, session: Result<T>) -> Result<T> {
        let session = session.map_err(|error| self.fail(error));
        drop((self.outgoing, self.incoming, self.watch));
        // The writer knows when to give up.
        let _ = self.writer.await;
        // A peer that still sends would lose our last words to a reset.
        let _ = timeout(self.last_words, self.reader).await;
        let failure = self.fate.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        session.map_err(|error| failure.unwrap_or(error))
    }
}

/// Ends the session when that is asked for.
async fn watching(fate: Arc<Fate>, cancel: Cancel) {
    while !cancel.is_cancelled() {
        sleep(POLL).await;
    }
    fate.fail(lacuna::Error::Cancelled.into());
}

#[cfg(test)]
mod tests;
