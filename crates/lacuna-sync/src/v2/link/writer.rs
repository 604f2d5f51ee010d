//! The task that sends frames.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::pace::Pace;
use super::{Fate, LinkOptions};
use crate::error::{Error, Result};
use crate::v2::frames::Outgoing;

pub(super) struct Writer<S> {
    pub(super) stream: WriteHalf<S>,
    pub(super) pace: Pace,
    pub(super) options: LinkOptions,
}

impl<S: AsyncWrite + Send> Writer<S> {
    pub(super) async fn run(mut self, mut frames: mpsc::Receiver<Outgoing>, fate: Arc<Fate>) {
        loop {
            let frame = tokio::select! {
                biased;
                () = fate.over() => break,
                frame = frames.recv() => match frame {
                    Some(frame) => Ok(frame),
                    None => break,
                },
                () = sleep(self.options.alive) => Outgoing::new(&fate.sign()),
            };
            let written = match frame {
                Ok(frame) => self.write(&frame, &fate).await,
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                fate.fail(error);
                // What was cut short cannot be followed by anything.
                return;
            }
        }
        frames.close();
        while frames.try_recv().is_ok() {}
        self.end(&fate).await;
    }

    /// All of `frame`. When the session is over, what has begun is brought to its end, soon.
    async fn write(&mut self, frame: &Outgoing, fate: &Fate) -> Result<()> {
        let last_words = self.options.last_words;
        let deadline = async {
            fate.over().await;
            sleep(last_words).await;
        };
        tokio::select! {
            biased;
            () = deadline => Err(Error::Ended),
            written = self.write_all(frame, fate) => written,
        }
    }

    async fn write_all(&mut self, frame: &Outgoing, fate: &Fate) -> Result<()> {
        let (mut bytes, stall) = (frame.bytes(), self.options.stall);
        let lost = |source| Error::Lost { source };
        while !bytes.is_empty() {
            let part = self.pace.part(bytes.len());
            self.pace.wait().await;
            let written = tokio::select! {
                written = self.stream.write(&bytes[..part]) => written.map_err(lost)?,
                () = stalled(stall, fate) => return Err(Error::Stalled { after: stall }),
            };
            if written == 0 {
                return Err(lost(ErrorKind::WriteZero.into()));
            }
            if !frame.is_alive() {
                fate.moves();
            }
            self.pace.passed(written);
            bytes = &bytes[written..];
        }
        tokio::select! {
            flushed = self.stream.flush() => flushed.map_err(lost),
            () = stalled(stall, fate) => Err(Error::Stalled { after: stall }),
        }
    }

    async fn end(&mut self, fate: &Fate) {
        let words = fate.last_words();
        let said = async {
            if let Some(words) = &words {
                self.stream.write_all(words.bytes()).await?;
            }
            self.stream.shutdown().await
        };
        // Whoever does not listen any more has gone, or will find that out.
        let _ = timeout(self.options.last_words, said).await;
    }
}

/// Until nothing could be sent for so long, nor was anything heard that counts: a peer reads nothing while it is
/// in a long call of the system.
async fn stalled(stall: Duration, fate: &Fate) {
    sleep(stall).await;
    while let Some(rest) = stall.checked_sub(fate.stands_still()).filter(|rest| !rest.is_zero()) {
        sleep(rest).await;
    }
}
