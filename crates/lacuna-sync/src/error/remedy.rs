//! What the person who reads an error can do.

use std::io;

use lacuna_wire::codes;

use super::Error;

/// In the words of a server of lacuna's own protocol.
const USE_LACUNA: &str = "use lacuna";

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
            Self::Failed { source, .. } | Self::Tried { source, .. } => return source.remedy(),
            Self::Unreached(unreached) => return unreached.remedy(),
            Self::Connect { .. } => "check host and port, and that the server is running",
            Self::Listen { source, .. } => of_listening(source.kind()),
            Self::Transport { .. } => {
                "check that the server is still running, and that it is one; \
                 then run the same command again"
            }
            Self::Refused { status, message, .. } => of_refusal(*status, message),
            Self::Stranger { message, .. } if message.contains(USE_LACUNA) => return None,
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
            Self::Lost { .. } | Self::Silent { .. } | Self::Stalled { .. } => AGAIN,
            Self::Peer { code, .. } | Self::SentAway { code, .. } => {
                return of_peer(*code).map(str::to_owned);
            }
            Self::NotLacuna { is_http: true } => {
                "use ssync://HOST:PORT for a server of Longhorn's ssync protocol"
            }
            Self::NotLacuna { .. } => "check host and port",
            Self::Standstill { .. } => STUCK,
            Self::ReceiptsDiffer => CORRUPT,
            Self::KindsDiffer { .. } => "write to ext4, XFS or btrfs",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

const AGAIN: &str = "run the same command again: it compares and goes on";
const STUCK: &str =
    "check the disks of both ends; then run the same command again: it compares and goes on";
const CORRUPT: &str = "run the same command again; if that ends the same way, sync to a new target, where nothing is \
    compared, and check the memory and the disks of both machines";

/// By the codes of the protocol.
fn of_peer(code: u16) -> Option<&'static str> {
    Some(match code {
        codes::VERSIONS => "update the older of the two ends",
        codes::TOKEN => "give the token of the server",
        codes::PATH => "check the path, as the other end sees it",
        codes::IN_USE => "wait for the other session to end",
        codes::READ_ONLY => "let the server be started for writing too",
        codes::BUSY => "run the same command again later",
        codes::FULL => "free some space there and run the same command again",
        codes::CHANGED => "stop what writes to it, or take a snapshot of it, and run again",
        codes::RECEIPTS => CORRUPT,
        codes::STOPPED => AGAIN,
        codes::TLS => "connect by TLS",
        codes::RECEIVES_ONLY => "let a server of a directory send it",
        codes::NO_DEVICES => "let the server be started for devices too",
        _ => return None,
    })
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
