//! The end of a squash: the oldest layer, which holds all, takes the place of the others.

use std::path::{Path, PathBuf};

use super::super::{LayerMeta, VolumeMeta};
use super::span::Stack;
use crate::beside;
use crate::checksum_file::{self, ChecksumFile};
use crate::error::Result;

/// Gives the oldest layer the name of the newest, durably.
pub(super) fn replace(stack: &Stack) -> Result<()> {
    ChecksumFile::remove(stack.newest())?;
    beside::replace_by_link(stack.newest(), stack.oldest())
}

/// Takes all but the newest, which is the oldest by now, out of the chain, and removes it.
pub(super) fn remove(stack: &Stack) -> Result<()> {
    // Where it was seen, it may not last yet.
    beside::sync_directory(stack.newest())?;
    ChecksumFile::remove(stack.newest())?;
    if let Some(parent) = stack.parent() {
        LayerMeta::set_parent(stack.newest(), parent)?;
        // The chain does not rest on that: until here it may name a layer that is still there.
        VolumeMeta::set_parent(stack.newest(), parent)?;
    }
    for layer in stack.below().rev() {
        ChecksumFile::remove(layer)?;
        beside::remove_alone(layer)?;
        if stack.parent().is_some() {
            beside::remove(&LayerMeta::path_of(layer))?;
        }
    }
    Ok(())
}

/// The files that go, as far as they are there, in their order.
pub(super) fn doomed(stack: &Stack) -> Vec<PathBuf> {
    let of = |layer: &Path| {
        let meta = stack.parent().map(|_| LayerMeta::path_of(layer));
        [Some(checksum_file::path_of(layer)), Some(layer.to_owned()), meta].into_iter().flatten()
    };
    let files = stack.below().rev().flat_map(|layer| of(layer));
    let checksum = checksum_file::path_of(stack.newest());
    [checksum].into_iter().chain(files).filter(|path| path.symlink_metadata().is_ok()).collect()
}
