//! `chain squash`.

use std::path::PathBuf;

use super::{ReflinkChoice, WorkArgs};

/// Make many layers of a snapshot chain one.
///
/// All layers from OLD up to NEW become one, which has NEW's name and stands on what OLD stood on. It is made in
/// OLD's file: each block is read once, from the newest layer that has it, and on one XFS or btrfs its space is
/// shared instead of copied. The files of the other layers are removed. Layers above NEW and below OLD are not
/// touched, and through them and NEW the chain reads the same at every instant.
///
/// With --free, the layers above OLD give up each range as soon as OLD has it durably, so that a squash needs no
/// more than 1 MiB of free space, and some 30 bytes for each hole. Nobody else may have them open.
///
/// DIR is the directory of one Longhorn replica, and OLD and NEW are layers of it, by the names of their files or
/// of their snapshots. Instead, layers without .meta files may be named, from the oldest to the newest.
///
/// Refused: a layer below NEW with another child, layers in use, marked unfinished or with a second name by which
/// they would be written too (a hard link), a directory whose copy was never completed (Rebuilding), and what does
/// not fit.
///
/// When it is interrupted or fails, the chain reads as before, and the same command completes the squash; where
/// that was complete, it says that there is no OLD, and what NEW stands on.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "lacuna chain squash [OPTIONS] DIR --from OLD --to NEW\n       \
        lacuna chain squash [OPTIONS] OLD... NEW",
    after_help = "Examples:\n  \
    lacuna chain squash --dry-run replicas/pvc-1a2b-0f3c9a7e --from monday --to friday\n  \
    lacuna chain squash replicas/pvc-1a2b-0f3c9a7e --from monday --to friday\n  \
    lacuna chain squash --free replicas/pvc-1a2b-0f3c9a7e --from monday --to friday    (when the disk is full)\n  \
    lacuna chain squash base.img middle.img newest.img"
)]
pub(crate) struct SquashArgs {
    /// A replica directory, or the layers from the oldest to the newest
    #[arg(value_name = "DIR | OLD... NEW", required = true)]
    pub(crate) names: Vec<PathBuf>,
    /// The oldest of the layers in DIR that become one
    #[arg(long, value_name = "OLD", requires = "to")]
    pub(crate) from: Option<String>,
    /// The newest of them: it is this name that stays
    #[arg(long, value_name = "NEW", requires = "from")]
    pub(crate) to: Option<String>,
    /// Only tell what would move and how, whether it fits, and which files would go; write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Let the layers above OLD give up what OLD has durably
    #[arg(long)]
    pub(crate) free: bool,
    /// Whether OLD shares the space of the layers above it
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) reflink: ReflinkChoice,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}
