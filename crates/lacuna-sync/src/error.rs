//! What can go wrong in a session.

mod code;
mod refusal;
mod remedy;
mod unreached;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use refusal::Refusal;
pub(crate) use unreached::SSH_FAILED;
pub use unreached::Unreached;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A session that failed. The display says who failed at what; the cause is the
/// [source](std::error::Error::source), and [`Error::remedy`] says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The image on this side.
    #[error(transparent)]
    Image(#[from] lacuna::Error),
    /// The way to a server, or to a client, is barred.
    #[error(transparent)]
    Unreached(#[from] Unreached),
    /// Nobody could be reached.
    #[error("cannot connect to {peer} within {} s", patience.as_secs())]
    Connect {
        /// Host and port.
        peer: String,
        /// For how long it was tried.
        patience: Duration,
        /// What the last try ended in.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke, or brought something that is no HTTP.
    #[error("{peer} did not answer {request}")]
    Transport {
        /// Host and port.
        peer: String,
        /// The request that was under way.
        request: &'static str,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The peer said no.
    #[error("{peer} refused {request} with status {status}: {message}")]
    Refused {
        /// Host and port.
        peer: String,
        /// The request.
        request: &'static str,
        /// The HTTP status.
        status: u16,
        /// Its words, cut and made printable.
        message: String,
    },
    /// The peer's answer is none that this protocol knows.
    #[error("{peer} does not speak Longhorn's ssync protocol")]
    Answer {
        /// Host and port.
        peer: String,
        /// What was wrong with it.
        source: lacuna_wire::Error,
    },
    /// The peer answered with something that is no HTTP.
    #[error("{peer} does not speak Longhorn's ssync protocol: its answer is no HTTP")]
    NotHttp {
        /// Host and port.
        peer: String,
    },
    /// The peer speaks HTTP, but does not know what `open` is.
    #[error(
        "{peer} does not speak Longhorn's ssync protocol: it answered open with status {status}: {message}"
    )]
    Stranger {
        /// Host and port.
        peer: String,
        /// The HTTP status.
        status: u16,
        /// Its words, cut and made printable.
        message: String,
    },
    /// The client ended the session before all of the image had arrived.
    #[error("the sync ended with {missing} missing; {kept}")]
    Incomplete {
        /// What did not arrive.
        missing: String,
        /// Where what did arrive is kept.
        kept: String,
    },
    /// The client ended the session and said that it had failed.
    #[error("the client gave up; {kept}")]
    GivenUp {
        /// Where what did arrive is kept.
        kept: String,
    },
    /// All arrived, and could not be made to last.
    #[error("the image could not be completed; {kept}")]
    Uncommitted {
        /// Where what did arrive is kept.
        kept: String,
        /// Why.
        source: lacuna::Error,
    },
    /// All arrived and is there to stay, but the checksum that was announced is not.
    #[error("the image is complete, but its checksum could not be recorded")]
    Unrecorded {
        /// Why.
        source: lacuna::Error,
    },
    /// Something failed here, and so the client gave up.
    #[error("the sync failed; {kept}")]
    Failed {
        /// Where what did arrive is kept.
        kept: String,
        /// What failed first.
        source: Box<Self>,
    },
    /// The client closed what it had not opened, and there is no image.
    #[error("the client closed the session without opening the image: nothing was received")]
    NothingReceived,
    /// The caller asked to stop.
    #[error("cancelled; {kept}")]
    Cancelled {
        /// Where what had arrived is kept.
        kept: String,
    },
    /// What arrived is not what the client says it sent.
    #[error(
        "the image that arrived has the crc64 {found}, the client announced {announced}; {kept}"
    )]
    Mismatch {
        /// Of what arrived.
        found: String,
        /// What the client sent with `close`.
        announced: String,
        /// Where what did arrive is kept.
        kept: String,
    },
    /// The request does not fit the state of the session.
    #[error("{0}")]
    State(&'static str),
    /// Direct I/O was asked for, for an image of a size that it cannot have.
    #[error("invalid file size {0} for directIO")]
    UnalignedSize(u64),
    /// The client was silent for too long.
    #[error("no request for {} s; {kept}", after.as_secs())]
    Idle {
        /// How long.
        after: Duration,
        /// Where what did arrive is kept.
        kept: String,
    },
    /// The peer sent what the protocol does not allow, or this end wanted to.
    #[error("the session cannot go on")]
    Wire(#[source] lacuna_wire::Error),
    /// The connection broke.
    #[error("the connection was lost")]
    Lost {
        /// What happened.
        source: io::Error,
    },
    /// Nothing came from the peer for too long.
    #[error("nothing was heard from the other end for {} s", after.as_secs())]
    Silent {
        /// How long.
        after: Duration,
    },
    /// A connection made way for a new one.
    #[error("made way for others: {strangers} connections had not said hello")]
    ShownOut {
        /// How many.
        strangers: usize,
    },
    /// The peer takes nothing any more.
    #[error("the other end took nothing for {} s", after.as_secs())]
    Stalled {
        /// How long.
        after: Duration,
    },
    /// The peer is there, and that is all that is heard of it.
    #[error("nothing was done for {} s, though the other end is there", after.as_secs())]
    Standstill {
        /// How long.
        after: Duration,
    },
    /// The peer gave up, and said why.
    #[error("the other end stopped: {words}")]
    Peer {
        /// One of [`codes`](crate::v2::codes).
        code: u16,
        /// Its words, cut and made printable.
        words: String,
    },
    /// A server has no session with us.
    #[error("{server} refused: {words}")]
    SentAway {
        /// Where it is.
        server: String,
        /// One of [`codes`](crate::v2::codes).
        code: u16,
        /// Its words, cut and made printable.
        words: String,
    },
    /// The peer is something else.
    #[error("the other end does not speak lacuna's protocol{}", if *is_http { ": it speaks HTTP" } else { "" })]
    NotLacuna {
        /// Whether it answered like a server of Longhorn's ssync would.
        is_http: bool,
    },
    /// A server sends the client away.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// The session is over; its first failure says why.
    #[error("the session is over")]
    Ended,
    /// What arrived is not what was sent.
    #[error("the receipts of source and target differ")]
    ReceiptsDiffer,
    /// The filesystem of the target does not keep what the source has.
    #[error("{} does not keep which ranges are data, zeros and holes", path.display())]
    KindsDiffer {
        /// The target.
        path: PathBuf,
    },
    /// It was tried more than once.
    #[error("given up after {times} tries")]
    Tried {
        /// How often.
        times: u32,
        /// What the last one ended in.
        source: Box<Self>,
    },
    /// The machinery under a session failed.
    #[error("cannot run the session")]
    Runtime {
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// A message of the peer that is not what the protocol allows.
    pub(crate) fn malformed(what: &'static str, reason: &'static str) -> Self {
        Self::Wire(lacuna_wire::Error::Malformed { what, reason })
    }

    /// Whether the peer does not know, and can be told.
    pub(crate) fn is_news_to_peer(&self) -> bool {
        !matches!(
            self,
            Self::Peer { .. } | Self::SentAway { .. } | Self::Lost { .. } | Self::Stalled { .. }
        )
    }

    /// Whether it is the connection that failed, which may be another time.
    pub(crate) fn is_of_the_connection(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::Lost { .. } | Self::Silent { .. } | Self::Stalled { .. }
        ) || matches!(self, Self::Unreached(unreached) if unreached.may_pass())
    }

    /// Whether the caller asked to stop, which is no fault.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Image(lacuna::Error::Cancelled) | Self::Cancelled { .. })
    }
}
