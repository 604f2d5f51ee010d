//! Checkpoints, on a thread beside those that write.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use super::Receiving;
use crate::error::Result;
use crate::runtime::POLL;

/// A checkpoint is due after this time.
const CHECKPOINT_SECONDS: u64 = 1;

/// A checkpoint is due after so many bytes were written.
const CHECKPOINT_BYTES: u64 = 256 << 20;

/// The last checkpoint.
struct Checkpoint {
    at: Instant,
    written: u64,
}

impl Receiving<'_> {
    /// Makes checkpoints while others write, until there is nobody at the other end of `is_over`.
    pub(super) fn save(&self, is_over: Receiver<()>) {
        let _guard = self.link.guard();
        let mut last = Checkpoint { at: Instant::now(), written: 0 };
        while is_over.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout) {
            if let Err(error) = self.checkpoint_if_due(&mut last) {
                self.link.fail(error);
                return;
            }
        }
    }

    /// What has arrived by a checkpoint outlasts a power cut, and is not sent again.
    fn checkpoint_if_due(&self, last: &mut Checkpoint) -> Result<()> {
        let written = self.progress.written_bytes.get();
        if last.at.elapsed().as_secs() >= CHECKPOINT_SECONDS && written > last.written
            || written.saturating_sub(last.written) >= CHECKPOINT_BYTES
        {
            self.link.in_call(|| self.target.image().sync())?;
            *last = Checkpoint { at: Instant::now(), written };
        }
        Ok(())
    }
}
