//! How far an operation is, and how to stop it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Counters that the operation adds to and anybody may read at any time.
///
/// `total_bytes` is what the source has allocated, as far as that is known beforehand, and
/// `done_bytes` what of it has been dealt with: close to the total at the end, not exactly it. The
/// rest say what the work was.
#[derive(Debug, Default)]
pub struct Progress {
    /// What is to be passed in all; 0 until it is known.
    pub total_bytes: Counter,
    /// What of it is passed.
    pub done_bytes: Counter,
    /// Read from the source.
    pub read_bytes: Counter,
    /// Compared with what the target has.
    pub compared_bytes: Counter,
    /// Image bytes sent to a peer.
    pub sent_bytes: Counter,
    /// Written to the target.
    pub written_bytes: Counter,
    /// Shared with the target instead of written.
    pub reflinked_bytes: Counter,
    finished: AtomicBool,
}

impl Progress {
    /// How far it is, from 0 to 100, which is only said of what is finished. Never less than before,
    /// as long as the total stays.
    pub fn percent(&self) -> u8 {
        if self.finished.load(Ordering::Relaxed) {
            return 100;
        }
        let (done, total) = (u128::from(self.done_bytes.get()), u128::from(self.total_bytes.get()));
        match total {
            0 => 0,
            _ => (done * 100 / total).min(99) as u8,
        }
    }

    /// So much is passed by now: never less than before, and never more than the total.
    pub fn advance(&self, done_bytes: u64) {
        self.done_bytes.0.fetch_max(done_bytes.min(self.total_bytes.get()), Ordering::Relaxed);
    }

    /// Begins anew, for another try.
    pub fn restart(&self) {
        let Self { total_bytes, done_bytes, read_bytes, .. } = self;
        let Self { compared_bytes, sent_bytes, written_bytes, reflinked_bytes, finished, .. } =
            self;
        let counters = [total_bytes, done_bytes, read_bytes, compared_bytes, sent_bytes];
        counters.iter().for_each(|counter| counter.set(0));
        [written_bytes, reflinked_bytes].iter().for_each(|counter| counter.set(0));
        finished.store(false, Ordering::Relaxed);
    }

    /// It is done: 100 from here on.
    pub fn finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }
}

/// A number that many threads add to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Replaces the value.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request to stop, shared by whoever asks and whoever works.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks everyone who holds a clone to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// [`Error::Cancelled`] once it was asked.
    pub fn check(&self) -> Result<()> {
        match self.is_cancelled() {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }

    /// The flag itself, for a signal handler to set.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}
