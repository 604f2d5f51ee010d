//! What one end tells the other of a failure.

use std::io;

use lacuna_wire::codes;

use super::Error;

impl Error {
    /// In the words of the protocol.
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Refusal(refusal) => refusal.code(),
            Self::Wire(_) | Self::NotLacuna { .. } => codes::NOT_UNDERSTOOD,
            Self::Image(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => codes::PATH,
            Self::Image(lacuna::Error::NotAnImage { .. }) => codes::PATH,
            Self::Image(lacuna::Error::Busy { .. }) => codes::IN_USE,
            Self::Image(lacuna::Error::Changed { .. }) => codes::CHANGED,
            Self::Image(lacuna::Error::Cancelled) => codes::STOPPED,
            Self::Image(error) if is_full(error) => codes::FULL,
            Self::ReceiptsDiffer => codes::RECEIPTS,
            _ => codes::OTHER,
        }
    }

    /// What the peer is told. Its own remedies are by the code; where that says nothing, ours is told too.
    pub(crate) fn words(&self) -> String {
        if self.is_cancelled() {
            return "stopped by a signal".to_owned();
        }
        let words = lacuna::describe(self);
        match self.remedy().filter(|_| self.code() == codes::OTHER) {
            Some(remedy) => format!("{words}; {remedy}"),
            None => words,
        }
    }

    /// Of what the peer says that it failed or refused: one of [`codes`](crate::v2::codes).
    pub fn told(&self) -> Option<u16> {
        match self {
            Self::Peer { code, .. } | Self::SentAway { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// The disk, or what this user may have of it.
fn is_full(error: &lacuna::Error) -> bool {
    matches!(error.io_kind(), Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}
