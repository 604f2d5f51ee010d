//! Up to where a transfer is complete, though its ranges finish out of order.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::{Job, Transfer};
use crate::error::Result;
use crate::failpoint;

/// A checkpoint is due after this time.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// A checkpoint is due after so many bytes were written.
const CHECKPOINT_BYTES: u64 = 256 << 20;

/// The jobs under way.
pub(super) struct Frontier(Mutex<State>);

struct State {
    /// Where each job under way starts.
    under_way: BTreeSet<u64>,
    /// All before this is done or under way.
    walked: u64,
}

impl Frontier {
    /// All before `done` is complete.
    pub(super) fn new(done: u64) -> Self {
        Self(Mutex::new(State { under_way: BTreeSet::new(), walked: done }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `job` is about to be handed out.
    pub(super) fn begun(&self, job: &Job) {
        let mut state = self.state();
        state.under_way.insert(job.start());
        state.walked = state.walked.max(job.end());
    }

    /// Nothing is to be done before `offset` but what is under way.
    pub(super) fn walked(&self, offset: u64) {
        let mut state = self.state();
        state.walked = state.walked.max(offset);
    }

    /// `job` is done.
    pub(super) fn finished(&self, job: &Job) {
        self.state().under_way.remove(&job.start());
    }

    /// Everything before this offset is complete.
    pub(super) fn reached(&self) -> u64 {
        let state = self.state();
        state.under_way.first().copied().unwrap_or(state.walked)
    }
}

/// When the last checkpoint was, and how much was written by then.
pub(super) struct Checkpoint {
    at: Instant,
    written: u64,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self { at: Instant::now(), written: 0 }
    }
}

impl Transfer<'_> {
    /// Makes a checkpoint when one is due and no other thread is at it.
    pub(super) fn checkpoint_if_due(&self) -> Result<()> {
        let mut last = match self.checkpoint.try_lock() {
            Ok(last) => last,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        let written = self.progress.written_bytes.get();
        let due = last.at.elapsed() >= CHECKPOINT_EVERY
            || written.saturating_sub(last.written) >= CHECKPOINT_BYTES
            || failpoint::pass("checkpoint.due").is_err();
        if due && !self.source.is_device() {
            self.target.checkpoint(self.source.stamp(), self.frontier.reached())?;
            *last = Checkpoint { at: Instant::now(), written };
        }
        Ok(())
    }
}
