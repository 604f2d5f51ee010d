//! How a session begins at the client: whether anything has to be sent, and whether there is content to
//! compare with.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lacuna::checksum_file::ChecksumFile;
use lacuna::{BLOCK, IoMode};
use lacuna_wire::v1::{self, Request};

use super::Session;
use crate::error::{Error, Result};
use crate::v1::connection::Connection;

/// What a server of this protocol may answer to `open`; and what one before it may, that is busy.
const REFUSALS: [u16; 5] = [400, 409, 429, 500, 503];

/// Extents of this mean length are large, in bytes.
const LARGE: u64 = 64 << 10;

/// The pause between tries to reach a server.
const AGAIN: Duration = Duration::from_secs(1);

impl Session {
    /// The `.checksum` of the source, where it may save the comparison.
    pub(super) fn recorded_here(&self) -> Option<ChecksumFile> {
        // Of a device no time tells when it changed, and a chain has no record.
        let image = self.source.image().filter(|image| !image.is_device())?;
        if !self.options.fast || !is_img(image.path()) {
            return None;
        }
        ChecksumFile::fresh(image).unwrap_or_else(|error| {
            tracing::warn!("{}: comparing instead", lacuna::describe(&error));
            None
        })
    }

    /// Whether the server has a `.checksum` that says the same as the one `here`.
    pub(super) async fn is_recorded_there(
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

    /// Opens the image there, directly or not as the options say.
    pub(super) async fn open(&self, control: &mut Connection) -> Result<bool> {
        let size = self.source.size();
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
            Error::Refused { peer, status, message, .. } if !REFUSALS.contains(&status) => {
                Error::Stranger { peer, status, message }
            }
            error => error,
        });
        v1::decode_existed(&answer?)
            .map_err(|source| Error::Answer { peer: self.peer.address.clone(), source })
    }

    /// Whether the source has extents that are worth writing past the page cache.
    async fn suits_direct(&self) -> Result<bool> {
        let size = self.source.size();
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
}

/// Whether an answer to `open` shows that nothing was begun.
pub(super) fn is_for_others(error: &Error) -> bool {
    match error {
        Error::Stranger { .. } | Error::Answer { .. } | Error::NotHttp { .. } => true,
        Error::Refused { status, .. } => matches!(status, 400 | 409 | 429 | 503),
        _ => false,
    }
}

fn is_img(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "img")
}
