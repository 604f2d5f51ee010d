//! What a fold did.

use crate::error::Result;
use crate::extent::KindBytes;
use crate::source::Source;

/// What a fold did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct FoldStats {
    /// Size of both afterwards.
    pub size_bytes: u64,
    /// The kinds that the child had.
    #[serde(flatten)]
    pub kinds: KindBytes,
    /// By which the parent grew.
    pub grown_bytes: u64,
    /// Read from the child.
    pub read_bytes: u64,
    /// Written to the parent.
    pub written_bytes: u64,
    /// Shared with the parent instead of written.
    pub reflinked_bytes: u64,
    /// Made unwritten in the parent.
    pub zeroed_bytes: u64,
    /// By which the child takes less space; what the parent or another file shares of it is not free.
    pub reclaimed_bytes: u64,
    /// Whether the child gave up what the parent has, in this fold or in an interrupted one that it
    /// completed: it is no layer on its own.
    #[serde(skip)]
    pub freed: bool,
}

/// What the child takes, all of its layers together.
pub(super) fn taken_bytes(child: &Source) -> Result<u64> {
    child.layers().map(|layer| layer.image().allocated_bytes()).sum()
}
