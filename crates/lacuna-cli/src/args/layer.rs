//! Commands on two layers of a snapshot chain: `fold` and `prune`.

use std::path::PathBuf;

use super::{ReflinkChoice, WorkArgs};

/// Write what a child layer has into its parent, so that the parent alone is what the two were.
///
/// Data and zero of CHILD end up in PARENT, as data and zero; where CHILD has a hole, PARENT stays as it
/// is. A smaller PARENT grows, a larger one is refused. Where both are on one XFS or btrfs, PARENT shares
/// the space of CHILD instead of a copy. CHILD is read only and stays a layer, unless --free is given.
///
/// With --free, CHILD gives up each range as soon as PARENT has it durably, so that a fold needs no more
/// than 1 MiB of free space, and some 30 bytes for each hole. Nobody else may have CHILD open. From then
/// on CHILD is no layer on its own: a part of its content is in PARENT alone. Over PARENT the chain
/// reads the same at every instant.
///
/// Where .meta files lie beside them, PARENT must be the parent of CHILD and of no other layer. The
/// files and their names stay as they are: to take CHILD out of the chain is up to whoever keeps it.
///
/// When it is interrupted or fails, PARENT is marked unfinished, the chain reads as before, and the same
/// command completes the fold.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lacuna fold --dry-run volume-snap-2.img --into volume-snap-1.img\n  \
    lacuna fold volume-snap-2.img --into volume-snap-1.img\n  \
    lacuna fold --free volume-snap-2.img --into volume-snap-1.img    (when the disk is full)")]
pub(crate) struct FoldArgs {
    /// The upper layer
    #[arg(value_name = "CHILD")]
    pub(crate) child: PathBuf,
    /// The layer right below it: a file or a block device
    #[arg(long, value_name = "PARENT")]
    pub(crate) into: PathBuf,
    /// Only tell what would move and how, and whether it fits; write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Let CHILD give up what PARENT has durably: it is no layer on its own afterwards
    #[arg(long)]
    pub(crate) free: bool,
    /// Whether PARENT shares the space of CHILD
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) reflink: ReflinkChoice,
    /// Fold although the .meta files do not say that PARENT is the parent of CHILD alone
    #[arg(long)]
    pub(crate) force_layer: bool,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}

/// Punch out of a parent layer what its child hides, to give the space back.
///
/// Where CHILD has data or zero, what PARENT has cannot be seen through the chain: it becomes a hole.
/// CHILD is made durable first and not changed. Over PARENT the chain reads the same at every instant;
/// PARENT on its own does not, so that no other layer may stand on it. A smaller PARENT grows, a larger
/// one is refused.
///
/// When it is interrupted or fails, PARENT is marked unfinished, the chain reads as before, and the same
/// command completes the prune.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lacuna prune --dry-run volume-snap-1.img --under volume-head-002.img\n  \
    lacuna prune volume-snap-1.img --under volume-head-002.img")]
pub(crate) struct PruneArgs {
    /// The lower layer
    #[arg(value_name = "PARENT")]
    pub(crate) parent: PathBuf,
    /// The layer right above it
    #[arg(long, value_name = "CHILD")]
    pub(crate) under: PathBuf,
    /// Only tell how much would be punched; write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Prune although the .meta files do not say that PARENT is the parent of CHILD alone
    #[arg(long)]
    pub(crate) force_layer: bool,
}
