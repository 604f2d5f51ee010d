//! Chunks of which blocks are under way, and what is known of the rest of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lacuna::receipt::{CHUNK, ChunkKinds};

/// A chunk that waits for blocks.
pub(super) struct Pending {
    pub(super) kinds: ChunkKinds,
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

    pub(super) fn insert(&self, chunk: u64, pending: Pending) {
        self.chunks().insert(chunk, pending);
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

    /// Where the first of them begins.
    pub(super) fn first(&self) -> Option<u64> {
        self.chunks().first_key_value().map(|(chunk, _)| chunk * CHUNK)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks().is_empty()
    }
}
