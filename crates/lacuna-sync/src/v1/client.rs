//! The v1 client: makes the image behind a server equal to one on this machine.

mod ending;
mod walk;

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lacuna::batch::BATCH_BYTES;
use lacuna::checksum_file::ChecksumFile;
use lacuna::{BLOCK, BufPool, Cancel, Counter, ImageOptions, IoMode, KindBytes, Progress, Source};
use lacuna_wire::v1::{self, Interval, Request};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::connection::{Connection, Peer};
use super::sender::Sender;
use crate::error::{Error, Result};
use crate::runtime;
use walk::walk;

/// How to sync.
#[derive(Clone, Debug)]
pub struct SyncOptions {
    /// How the source is read.
    pub io: IoMode,
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
            io: IoMode::Auto,
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

/// What a server of this protocol may answer to `open`; and what one before it may, that is busy.
const REFUSALS: [u16; 5] = [400, 409, 429, 500, 503];

/// Extents of this mean length are large, in bytes.
const LARGE: u64 = 64 << 10;

/// The pause between tries to reach a server.
const AGAIN: Duration = Duration::from_secs(1);

/// Makes the image behind the server at `address` (`HOST:PORT`) equal to `source`.
///
/// # Errors
///
/// Whatever is wrong on either side; after all but a transport error the server was told that the
/// sync failed.
pub fn sync(
    source: &Path,
    address: &str,
    options: &SyncOptions,
    progress: &Arc<Progress>,
    cancel: &Cancel,
) -> Result<SyncStats> {
    let source = Arc::new(Source::open(
        source,
        &ImageOptions { io: options.io, ..ImageOptions::default() },
    )?);
    let size = source.image().size();
    if Interval::new(0, size.next_multiple_of(BLOCK)).is_none() {
        let why = std::io::ErrorKind::FileTooLarge;
        return Err(lacuna::Error::io("name all of", source.image().path(), why).into());
    }
    if options.target_io == IoMode::Direct && !size.is_multiple_of(BLOCK) {
        return Err(Error::UnalignedSize(size));
    }
    progress.total_bytes.set(source.image().allocated_bytes()?.min(size));
    let peer = Peer {
        address: address.to_owned(),
        session: format!("{:016x}", RandomState::new().hash_one(std::process::id())).into(),
        timeout: options.request_timeout,
        retries: options.retries,
        wire: Arc::new(Counter::default()),
        cancel: cancel.clone(),
    };
    let session = Session {
        source,
        peer,
        options: options.clone(),
        progress: progress.clone(),
        cancel: cancel.clone(),
    };
    let mut stats = runtime::block_on(session.run())?;
    session.source.image().drop_cache();
    progress.finish();
    stats.read_bytes = progress.read_bytes.get();
    stats.compared_bytes = progress.compared_bytes.get();
    stats.sent_bytes = progress.sent_bytes.get();
    stats.wire_bytes = session.peer.wire.get();
    Ok(stats)
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
        let image = self.source.image();
        // Of a device no time tells when it changed.
        let recorded = match self.options.fast && is_img(image.path()) && !image.is_device() {
            true => ChecksumFile::fresh(image).unwrap_or_else(|error| {
                tracing::warn!("{}: comparing instead", lacuna::describe(&error));
                None
            }),
            false => None,
        };
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

    /// Opens the image there, directly or not as the options say.
    async fn open(&self, control: &mut Connection) -> Result<bool> {
        let size = self.source.image().size();
        let open = |direct_io| Request::Open { size, direct_io };
        let answer = match self.options.target_io {
            IoMode::Direct => self.first(control, &open(true)).await,
            IoMode::Buffered => self.first(control, &open(false)).await,
            IoMode::Auto if !self.suits_direct().await? => self.first(control, &open(false)).await,
            IoMode::Auto => match self.first(control, &open(true)).await {
                // There may be no direct I/O on the server's filesystem.
                Err(Error::Refused { status: 500, message, .. }) => {
                    tracing::info!(message, "asking for buffered I/O instead");
                    self.first(control, &open(false)).await
                }
                answer => answer,
            },
        };
        let answer = answer.map_err(|error| match error {
            Error::Refused { peer, status, .. } if !REFUSALS.contains(&status) => {
                Error::Stranger { peer, status }
            }
            error => error,
        });
        v1::decode_existed(&answer?)
            .map_err(|source| Error::Answer { peer: self.peer.address.clone(), source })
    }

    /// Whether the source has extents that are worth writing past the page cache.
    async fn suits_direct(&self) -> Result<bool> {
        let size = self.source.image().size();
        let stats = self.count_kinds().await?;
        let large = stats.kinds.allocated_bytes() >= LARGE * stats.extents;
        Ok(size.is_multiple_of(BLOCK) && large)
    }

    /// Asks what nobody was asked before: as long as nobody answers, the server may be starting.
    async fn first(&self, control: &mut Connection, request: &Request) -> Result<Bytes> {
        let patience = self.options.connect_timeout;
        let begun = Instant::now();
        loop {
            control.connect(begun, patience).await?;
            match control.ask(request, Bytes::new()).await {
                Err(Error::Transport { .. }) if begun.elapsed() + AGAIN < patience => {
                    tokio::time::sleep(AGAIN).await;
                }
                answer => return answer,
            }
        }
    }

    async fn is_recorded_there(
        &self,
        control: &mut Connection,
        here: &ChecksumFile,
    ) -> Result<bool> {
        let answer = self.first(control, &Request::GetRecordedMetadata).await;
        let there: ChecksumFile = match answer {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(there) => there,
                Err(_) => return Ok(false),
            },
            // There is none, or it speaks of another state of the image.
            Err(Error::Refused { status: 404 | 500, .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let same = there.method == here.method && there.checksum == here.checksum;
        Ok(same && !there.silently_corrupted)
    }

    /// Sends whatever the target lacks.
    async fn send_all(&self, control: &mut Connection, existed: bool) -> Result<SyncStats> {
        let size = self.source.image().size();
        // "Did not exist" may mean: when the server started. One hole makes it true, and then no
        // other hole has to be sent.
        if let Some(all) = Interval::new(0, size.next_multiple_of(BLOCK))
            && !existed
            && size > 0
        {
            // Sent once only: a second one that comes late would punch what was written meanwhile.
            control.ask_here(&Request::SendHole(all)).await?;
        }
        let (work, queue) = mpsc::channel(self.options.in_flight.max(1));
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
        let (source, cancel) = (self.source.clone(), self.cancel.clone());
        let walked = runtime::blocking(move || walk(&source, existed, &work, &cancel)).await;
        let mut failed = None;
        while let Some(ended) = senders.join_next().await {
            let ended = ended.map_err(|error| Error::Runtime { source: error.into() });
            if let Err(error) = ended.flatten() {
                failed.get_or_insert(error);
            }
        }
        match failed {
            Some(error) => Err(error),
            None => walked,
        }
    }
}

/// Whether an answer to `open` shows that nothing was begun.
fn is_for_others(error: &Error) -> bool {
    match error {
        Error::Stranger { .. } | Error::Answer { .. } | Error::NotHttp { .. } => true,
        Error::Refused { status, .. } => matches!(status, 400 | 409 | 429 | 503),
        _ => false,
    }
}

fn is_img(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "img")
}
