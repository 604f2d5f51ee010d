//! The task that takes frames in.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use lacuna::BufPool;
use lacuna_wire::{HEADER, Header, Message, types};
use tokio::io::{AsyncRead, AsyncReadExt, ReadHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::pace::Pace;
use super::{Fate, LinkOptions};
use crate::error::{Error, Result};
use crate::v2::frames::Arrived;

/// What a frame may take to arrive, beyond the silence that is allowed: bytes a second.
const SLOWEST: u64 = 1 << 10;

pub(super) struct Reader<S> {
    pub(super) stream: ReadHalf<S>,
    pub(super) pace: Pace,
    pub(super) options: LinkOptions,
    pub(super) pool: BufPool,
}

impl<S: AsyncRead + Send> Reader<S> {
    pub(super) async fn run(mut self, frames: mpsc::Sender<Arrived>, fate: Arc<Fate>) {
        let ended = loop {
            let frame = tokio::select! {
                () = fate.over() => break Error::Ended,
                () = frames.closed() => break Error::Ended,
                frame = self.frame() => frame,
            };
            let sent = match frame {
                Ok(frame) => self.pass_on(frame, &frames, &fate).await,
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                break error;
            }
        };
        if !matches!(ended, Error::Ended) {
            fate.fail(ended);
        }
        drop(frames);
        // What still comes is of no use, but must not stand in the way of our last words.
        let _ = timeout(
            self.options.last_words,
            tokio::io::copy(&mut self.stream, &mut tokio::io::sink()),
        )
        .await;
    }

    async fn frame(&mut self) -> Result<Arrived> {
        let mut header = [0; HEADER];
        let silent = |_| Error::Silent { after: self.options.silence };
        let lost = |source| Error::Lost { source };
        let first = timeout(self.options.silence, self.stream.read(&mut header[..1])).await;
        if first.map_err(silent)?.map_err(lost)? == 0 {
            return Err(Error::Lost { source: ErrorKind::UnexpectedEof.into() });
        }
        let rest = timeout(self.options.silence, self.stream.read_exact(&mut header[1..])).await;
        rest.map_err(silent)?.map_err(lost)?;
        let header = Header::decode(&header).map_err(Error::Wire)?;
        let mut frame = Arrived::new(header, &self.pool);
        let patience = Duration::from_secs(header.length as u64 / SLOWEST) + self.options.silence;
        self.pace.passed(HEADER);
        let read = timeout(patience, self.fill(frame.bytes_mut())).await;
        read.map_err(|_| Error::Silent { after: patience })?.map_err(lost)?;
        Ok(frame)
    }

    /// Reads at the rate, a little at a time: to the other end, who reads nothing for long has gone.
    async fn fill(&mut self, mut rest: &mut [u8]) -> std::io::Result<()> {
        while !rest.is_empty() {
            let (part, after) = rest.split_at_mut(self.pace.part(rest.len()));
            self.pace.wait().await;
            self.stream.read_exact(part).await?;
            self.pace.passed(part.len());
            rest = after;
        }
        Ok(())
    }

    async fn pass_on(
        &mut self,
        frame: Arrived,
        frames: &mpsc::Sender<Arrived>,
        fate: &Fate,
    ) -> Result<()> {
        if matches!(frame.kind(), types::WORKING | types::ALIVE | types::FAILED) {
            let after = self.options.standstill;
            if frame.kind() == types::WORKING {
                fate.hears_of_work(self.options.longest_call);
            }
            return match frame.open(&self.pool)?.message()? {
                Message::Failed { code, words } => Err(Error::Peer { code, words }),
                _ if fate.stands_still() >= after => Err(Error::Standstill { after }),
                _ => Ok(()),
            };
        }
        let passed = tokio::select! {
            sent = frames.send(frame) => sent.map_err(|_| Error::Ended),
            () = fate.over() => Err(Error::Ended),
        };
        // It may have waited for long until this end was ready for it.
        fate.moves();
        passed
    }
}
