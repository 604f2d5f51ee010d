//! The v1 client: makes the image behind a server equal to one on this machine.

mod ending;
mod opening;
mod walk;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use lacuna::batch::BATCH_BYTES;
use lacuna::{BLOCK, BufPool, Cancel, Counter, IoMode, KindBytes, Progress, Source};
use lacuna_wire::v1::{Interval, Request};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::connection::{Connection, Peer};
use super::sender::{Sender, Work};
use crate::error::{Error, Result};
use crate::runtime;
use opening::is_for_others;
use walk::walk;

/// How to sync.
#[derive(Clone, Debug)]
pub struct SyncOptions {
    /// How the server is to write. Direct needs a size that is a multiple of 4096; `Auto` is direct
    /// where that can be and the source has large extents.
    pub target_io: IoMode,
    /// For how long the server is dialled.
    pub connect_timeout: Duration,
    /// For one request and its answer.
    pub request_timeout: Duration,
    /// The same for `close`, which waits for the server's disk.
    pub close_timeout: Duration,
    /// Further tries of a request that failed.
    pub retries: u32,
    /// Requests in flight, each on a connection of its own.
    pub in_flight: usize,
    /// Send nothing when both sides have a `.checksum` of one value that is as fresh as the image.
    /// Longhorn's rule: for names that end in `.img`; it does not see kinds.
    pub fast: bool,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            target_io: IoMode::Auto,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(600),
            retries: 0,
            in_flight: 32,
            fast: true,
        }
    }
}

/// What a sync did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncStats {
    /// Size of the source.
    pub size_bytes: u64,
    /// The kinds of the source; unwritten ranges arrive as data.
    pub kinds: KindBytes,
    /// Read from the source.
    pub read_bytes: u64,
    /// Compared with the target by digest.
    pub compared_bytes: u64,
    /// Image bytes sent.
    pub sent_bytes: u64,
    /// All bytes on the connections, both ways.
    pub wire_bytes: u64,
    /// Allocated extents of the source.
    pub extents: u64,
    /// Nothing was sent, because both sides have the same fresh `.checksum`.
    pub skipped: bool,
}

/// Makes the image behind the server at `address` (`HOST:PORT`) equal to `source`.
///
/// # Errors
///
/// Whatever is wrong on either side; after all but a transport error the server was told that the
/// sync failed.
pub fn sync(
    source: Arc<Source>,
    address: &str,
    options: &SyncOptions,
    progress: &Arc<Progress>,
    cancel: &Cancel,
) -> Result<SyncStats> {
    refuse_size(&source, options)?;
    let image = &source;
    progress.total_bytes.set(image.allocated_bytes()?.min(image.size()));
    let peer = Peer {
        address: address.to_owned(),
        session: format!("{:016x}", RandomState::new().hash_one(std::process::id())).into(),
        timeout: options.request_timeout,
        retries: options.retries,
        wire: Arc::new(Counter::default()),
        cancel: cancel.clone(),
    };
    let (options, progress, cancel) = (options.clone(), progress.clone(), cancel.clone());
    let session = Session { source, peer, options, progress, cancel };
    let mut stats = runtime::block_on(session.run())?;
    session.source.drop_cache();
    let progress = &session.progress;
    progress.finish();
    stats.read_bytes = progress.read_bytes.get();
    stats.compared_bytes = progress.compared_bytes.get();
    stats.sent_bytes = progress.sent_bytes.get();
    stats.wire_bytes = session.peer.wire.get();
    Ok(stats)
}

/// Some sizes the protocol cannot name, and some not for direct I/O.
fn refuse_size(source: &Source, options: &SyncOptions) -> Result<()> {
    let size = source.size();
    if Interval::new(0, size.next_multiple_of(BLOCK)).is_none() {
        let why = std::io::ErrorKind::FileTooLarge;
        return Err(lacuna::Error::io("name all of", source.path(), why).into());
    }
    if options.target_io == IoMode::Direct && !size.is_multiple_of(BLOCK) {
        return Err(Error::UnalignedSize(size));
    }
    Ok(())
}

struct Session {
    source: Arc<Source>,
    peer: Peer,
    options: SyncOptions,
    progress: Arc<Progress>,
    cancel: Cancel,
}

impl Session {
    async fn run(&self) -> Result<SyncStats> {
        let recorded = self.recorded_here();
        let mut control = Connection::new(self.peer.clone());
        let skipped = match &recorded {
            Some(recorded) => self.is_recorded_there(&mut control, recorded).await?,
            None => false,
        };
        let sent = match skipped {
            true => self.count_kinds().await.map(|stats| SyncStats { skipped, ..stats }),
            false => match self.open(&mut control).await {
                Ok(existed) => self.send_all(&mut control, existed).await,
                // Whoever else a server waits for, it is not for this client to send away; and what
                // is no server is told nothing more.
                Err(error) if is_for_others(&error) => return Err(error),
                Err(error) => Err(error),
            },
        };
        let sent = sent.and_then(|stats| Ok(self.source.check().map(|()| stats)?));
        match sent {
            Ok(stats) => self.close(control, recorded.as_ref(), !skipped).await.map(|()| stats),
            Err(failed) => {
                if control.has_reached() {
                    self.give_up().await;
                }
                Err(failed)
            }
        }
    }

    /// Sends whatever the target lacks.
    async fn send_all(&self, control: &mut Connection, existed: bool) -> Result<SyncStats> {
        if !existed {
            self.punch_all(control).await?;
        }
        let (work, queue) = mpsc::channel(self.options.in_flight.max(1));
        let senders = self.start_senders(queue, existed);
        let (source, cancel) = (self.source.clone(), self.cancel.clone());
        let walked = runtime::blocking(move || walk(&source, existed, &work, &cancel)).await;
        match first_failure(senders).await {
            Some(error) => Err(error),
            None => walked,
        }
    }

    /// "Did not exist" may mean: when the server started. One hole makes it true, and then no other
    /// hole has to be sent.
    async fn punch_all(&self, control: &mut Connection) -> Result<()> {
        let size = self.source.size();
        match Interval::new(0, size.next_multiple_of(BLOCK)) {
            // Sent once only: a second one that comes late would punch what was written meanwhile.
            Some(all) if size > 0 => control.ask_here(&Request::SendHole(all)).await,
            _ => Ok(()),
        }
    }

    fn start_senders(&self, queue: mpsc::Receiver<Work>, existed: bool) -> JoinSet<Result<()>> {
        let queue = Arc::new(Mutex::new(queue));
        let pool = BufPool::new(BATCH_BYTES as usize);
        let mut senders = JoinSet::new();
        for _ in 0..self.options.in_flight.max(1) {
            let sender = Sender {
                source: self.source.clone(),
                connection: Connection::new(self.peer.clone()),
                existed,
                pool: pool.clone(),
                progress: self.progress.clone(),
            };
            senders.spawn(sender.run(queue.clone()));
        }
        senders
    }
}

/// Waits for all senders.
async fn first_failure(mut senders: JoinSet<Result<()>>) -> Option<Error> {
    let mut failed = None;
    while let Some(ended) = senders.join_next().await {
        let ended = ended.map_err(|error| Error::Runtime { source: error.into() });
        if let Err(error) = ended.flatten() {
            failed.get_or_insert(error);
        }
    }
    failed
}
