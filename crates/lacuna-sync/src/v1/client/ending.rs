//! How a session ends at the client: well, or so that the server knows that it did not.

use std::time::Duration;

use bytes::Bytes;
use lacuna::checksum_file::ChecksumFile;
use lacuna::{BLOCK, Cancel};
use lacuna_wire::v1::{Interval, Request};

use super::Session;
use crate::error::{Error, Result};
use crate::v1::connection::{Connection, Peer};

/// How long a session that failed waits for the server to hear of it.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Session {
    pub(super) async fn close(
        &self,
        mut control: Connection,
        recorded: Option<&ChecksumFile>,
        is_open: bool,
    ) -> Result<()> {
        let (method, checksum) = match recorded {
            Some(recorded) => (recorded.method.clone(), recorded.checksum.clone()),
            None => Default::default(),
        };
        if is_open && control.is_broken() {
            self.find_again(&mut control).await?;
        }
        let peer = Peer { timeout: self.options.close_timeout, retries: 0, ..self.peer.clone() };
        control.set_peer(peer);
        let close = Request::Close { method, checksum };
        match is_open {
            true => control.ask_here(&close).await,
            false => control.ask(&close, Bytes::new()).await.map(drop),
        }
    }

    /// Dials the server again before `close`. It may have been started anew meanwhile, with nothing
    /// open: a range past the end costs nothing to ask for, and is refused then.
    async fn find_again(&self, control: &mut Connection) -> Result<()> {
        let end = self.source.size().next_multiple_of(BLOCK);
        let Some(past_the_end) = Interval::new(end, end.saturating_add(BLOCK)) else {
            return Ok(());
        };
        match control.ask(&Request::GetChecksum(past_the_end), Bytes::new()).await {
            Err(error @ (Error::Transport { .. } | Error::Refused { status: 409, .. })) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Ends a session that failed. The original's server would take any `close` for success, so no
    /// checksum goes with it; ours is told by a `writeData` without its bytes, which it refuses and
    /// remembers, so that no target with a part of the changes passes for complete.
    pub(super) async fn give_up(&self) {
        let cancel = Cancel::default();
        let peer = Peer { timeout: LAST_WORDS, retries: 0, cancel, ..self.peer.clone() };
        let mut control = Connection::new(peer);
        let close = Request::Close { method: String::new(), checksum: String::new() };
        let first = Interval::new(0, BLOCK).filter(|_| self.source.size() > 0);
        let taint = first.map(Request::WriteData);
        for request in taint.iter().chain([&close]) {
            match control.ask(request, Bytes::new()).await {
                Ok(_) | Err(Error::Refused { .. }) => {}
                Err(error) => {
                    tracing::debug!(error = lacuna::describe(&error), "could not say goodbye");
                    return;
                }
            }
        }
    }
}
