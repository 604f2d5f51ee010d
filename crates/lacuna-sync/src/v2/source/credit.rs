//! Digests that were sent and are not settled: each may come back as a want, which must have a place here,
//! and as what is known of the chunk there, until it is answered.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::super::link::Link;
use crate::error::{Error, Result};
use crate::runtime::POLL;

/// Chunks that may be unsettled: not checked, or wanted and not answered.
const WINDOW: u64 = 8192;

/// What was sent, checked and wanted, in chunks.
#[derive(Default)]
pub(super) struct Credit {
    counts: Mutex<Counts>,
    changed: Condvar,
}

#[derive(Default)]
struct Counts {
    sent: u64,
    checked: u64,
    /// Since the last that was counted as checked.
    wanted: u64,
    unanswered: u64,
}

impl Credit {
    /// Waits until `chunks` more may be sent.
    pub(super) fn spend(&self, chunks: u64, link: &Link) -> Result<()> {
        let fits =
            |counts: &Counts| counts.sent - counts.checked + counts.unanswered + chunks <= WINDOW;
        self.wait(link, fits)?.sent += chunks;
        Ok(())
    }

    pub(super) fn wait_until_checked(&self, link: &Link) -> Result<()> {
        self.wait(link, |counts| counts.sent == counts.checked).map(drop)
    }

    /// The target lacks something of so many chunks.
    pub(super) fn want(&self, chunks: u64) -> Result<()> {
        let mut counts = self.counts();
        counts.wanted += chunks;
        counts.unanswered += chunks;
        match counts.checked + counts.wanted > counts.sent {
            true => Err(Error::malformed("a Want", "names more chunks than it was asked about")),
            false => Ok(()),
        }
    }

    /// So many chunks were checked in all.
    pub(super) fn checked(&self, chunks: u64) -> Result<()> {
        let mut counts = self.counts();
        if chunks > counts.sent || chunks < counts.checked + counts.wanted {
            return Err(Error::malformed("a Checked", "counts what was never sent"));
        }
        counts.checked = chunks;
        counts.wanted = 0;
        self.changed.notify_all();
        Ok(())
    }

    /// So many wants were answered.
    pub(super) fn answered(&self, chunks: u64) {
        self.counts().unanswered -= chunks;
        self.changed.notify_all();
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, link: &Link, until: impl Fn(&Counts) -> bool) -> Result<MutexGuard<'_, Counts>> {
        let mut counts = self.counts();
        while !until(&counts) {
            link.check()?;
            let waited = self.changed.wait_timeout(counts, POLL);
            counts = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(counts)
    }
}
