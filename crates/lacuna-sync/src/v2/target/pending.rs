//! Chunks of which blocks are under way, and what is known of the rest of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lacuna::receipt::ChunkKinds;

use crate::error::{Error, Result};

/// Chunks that wait, at most: twice the window.
pub(super) const MOST: usize = 16384;

/// A chunk that waits for blocks.
pub(super) struct Pending {
    pub(super) kinds: ChunkKinds,
    /// Bytes that are data or zero.
    pub(super) allocated: u64,
    /// Blocks that must come.
    pub(super) missing: u16,
    /// Blocks that may.
    pub(super) differing: u16,
    /// The chaining values of all blocks as they are now.
    pub(super) values: Vec<[u8; 32]>,
}

/// All of them, by their numbers.
#[derive(Default)]
pub(super) struct Waiting(Mutex<BTreeMap<u64, Pending>>);

impl Waiting {
    fn chunks(&self) -> MutexGuard<'_, BTreeMap<u64, Pending>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    ///
    /// When the source answers none of so many wants that nobody who keeps to the window has.
    pub(super) fn insert(&self, chunk: u64, pending: Pending) -> Result<()> {
        let mut chunks = self.chunks();
        if chunks.len() >= MOST {
            return Err(Error::malformed("Digests", "come without an answer to what was wanted"));
        }
        chunks.insert(chunk, pending);
        Ok(())
    }

    /// What waits of `chunk` and can be settled by the blocks that `sent` has.
    pub(super) fn get(&self, chunk: u64, sent: u16) -> Option<Pending> {
        let mut chunks = self.chunks();
        let pending = chunks.get_mut(&chunk)?;
        let fits = sent & pending.missing == pending.missing
            && sent & !(pending.missing | pending.differing) == 0;
        // It counts as waiting until its blocks are written.
        let taken =
            fits.then(|| Pending { values: std::mem::take(&mut pending.values), ..*pending })?;
        (!taken.values.is_empty()).then_some(taken)
    }

    /// The blocks of `chunk` are written.
    pub(super) fn remove(&self, chunk: u64) {
        self.chunks().remove(&chunk);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks().is_empty()
    }
}
