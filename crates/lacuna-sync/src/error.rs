//! What can go wrong in a session.

use std::io;
use std::time::Duration;

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
        "{peer} does not speak Longhorn's ssync protocol: it answered open with status {status}"
    )]
    Stranger {
        /// Host and port.
        peer: String,
        /// The HTTP status.
        status: u16,
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
    /// The machinery under a session failed.
    #[error("cannot run the session")]
    Runtime {
        /// What the system said.
        source: io::Error,
    },
}

/// In the words of a server that refuses a [mismatch](Error::Mismatch).
const ANNOUNCED: &str = "the client announced";

const HASH_AGAIN: &str = "hash the source again, or remove its .checksum file, and sync again";

impl Error {
    /// What the person who reads the error can do.
    pub fn remedy(&self) -> Option<String> {
        let text = match self {
            Self::Image(error)
            | Self::Uncommitted { source: error, .. }
            | Self::Unrecorded { source: error } => return error.remedy(),
            Self::Failed { source, .. } => return source.remedy(),
            Self::Connect { .. } => "check host and port, and that the server is running",
            Self::Listen { source, .. } => of_listening(source.kind()),
            Self::Transport { .. } => {
                "check that the server is still running, and that it is one; \
                 then run the same command again"
            }
            Self::Refused { status, message, .. } => of_refusal(*status, message),
            Self::Answer { .. } | Self::Stranger { .. } | Self::NotHttp { .. } => {
                "check host and port"
            }
            Self::Incomplete { .. }
            | Self::GivenUp { .. }
            | Self::Idle { .. }
            | Self::NothingReceived
            | Self::Cancelled { .. } => "run the server and the sync again",
            Self::Mismatch { .. } => HASH_AGAIN,
            Self::UnalignedSize(_) => "use buffered I/O",
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// Whether the caller asked to stop, which is no fault.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Image(lacuna::Error::Cancelled) | Self::Cancelled { .. })
    }
}

fn of_listening(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrNotAvailable => "name an address of this machine",
        io::ErrorKind::PermissionDenied => "choose a port from 1024 on",
        _ => "choose another port, or stop what uses this one",
    }
}

fn of_refusal(status: u16, message: &str) -> &'static str {
    match status {
        _ if message.contains("no space left") => {
            "free some space on the server and run the same command again"
        }
        409 if message.contains("another client") => {
            "wait for the other client to end, or use another server"
        }
        409 => "start a new server: it serves one sync",
        _ if message.contains(ANNOUNCED) => HASH_AGAIN,
        _ => "mend this on the server, start it again, and run the same command again",
    }
}
