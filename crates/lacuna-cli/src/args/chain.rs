//! Commands on replica directories: `chain`.

use std::path::PathBuf;

use clap::Subcommand;

use super::{SquashArgs, WorkArgs};

/// Look at the snapshot chain in a Longhorn replica directory, or make layers of it one.
///
/// DIR is the directory of one replica, like /var/lib/longhorn/replicas/pvc-1a2b-0f3c9a7e. Neither a cluster nor
/// an engine is needed. `ls`, `check` and `diff` only read it; `squash` writes to it and removes files.
#[derive(Debug, clap::Args)]
pub(crate) struct ChainArgs {
    #[command(subcommand)]
    pub(crate) command: ChainCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChainCommand {
    Ls(ChainLsArgs),
    Check(ChainCheckArgs),
    Diff(ChainDiffArgs),
    Squash(SquashArgs),
}

impl ChainArgs {
    /// The exit status when there is no answer.
    pub(crate) fn trouble(&self) -> u8 {
        match self.command {
            ChainCommand::Ls(_) | ChainCommand::Squash(_) => 1,
            ChainCommand::Check(_) | ChainCommand::Diff(_) => 2,
        }
    }
}

/// Show the layers of a replica directory as a tree, and what each is good for.
///
/// The base comes first; where several layers stand on one, those that do not lead to the head are marked with a
/// +. The strip under each shows which part of the volume it has: visible to who reads a newest layer, or hidden by
/// newer ones. `allocated` is what it takes on the disk, `exclusive` what of that no other file shares and would be
/// free without it. `hidden`: shown by none of the newest layers; a snapshot itself still reads it. `lacuna prune`
/// gives back what the layer right above hides, and the snapshot cannot be read alone afterwards. `dirty` means in
/// use, or not closed in order.
///
/// The replica may be in use: nobody is kept out, and nothing is written.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lacuna chain ls /var/lib/longhorn/replicas/pvc-1a2b-0f3c9a7e\n  \
    lacuna chain ls --verify replicas/pvc-1a2b-0f3c9a7e\n  \
    lacuna chain ls --json replicas/pvc-1a2b-0f3c9a7e")]
pub(crate) struct ChainLsArgs {
    /// The replica directory
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Read each layer that has a fresh .checksum file, and compare
    #[arg(long)]
    pub(crate) verify: bool,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}

/// Check whether a replica directory is sound.
///
/// Says in one run all that is wrong: files that are missing, malformed or too many, layers that do not make one
/// chain, sizes that do not fit, a copy that was never completed, checksums that do not hold. Each line says what
/// was found and what to do. A note is no fault: a replica that is in use, or was not closed in order, is sound.
///
/// Exit status: 0 sound, 1 unsound, 2 trouble: DIR is no replica directory, or a file in it cannot be read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lacuna chain check /var/lib/longhorn/replicas/pvc-1a2b-0f3c9a7e\n  \
    lacuna chain check --verify replicas/pvc-1a2b-0f3c9a7e\n  \
    lacuna chain check --quiet replicas/pvc-1a2b-0f3c9a7e && echo sound")]
pub(crate) struct ChainCheckArgs {
    /// The replica directory
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Also read each layer that has a fresh .checksum file, and compare
    #[arg(long)]
    pub(crate) verify: bool,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}

/// Show where two replicas of one volume differ, layer by layer.
///
/// Layers are compared by their names, in content and in kind, and by what is said of them: parent, removed, user
/// created, labels. The heads stand for each other, whatever their numbers. Where layers differ, the volumes are
/// compared as they read: two replicas may have other layers and hold the same.
///
/// A directory is refused whose files another process has open for writing, and one whose copy was never completed.
///
/// Exit status: 0 the same, 1 different, 2 trouble.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lacuna chain diff replicas/pvc-1a2b-0f3c9a7e /mnt/node2/pvc-1a2b-77e01c2d\n  \
    lacuna chain diff --ranges --json replicas/pvc-1a2b-0f3c9a7e /mnt/node2/pvc-1a2b-77e01c2d")]
pub(crate) struct ChainDiffArgs {
    /// A replica directory
    #[arg(value_name = "DIR_A")]
    pub(crate) left: PathBuf,
    /// Another one
    #[arg(value_name = "DIR_B")]
    pub(crate) right: PathBuf,
    /// List every range that differs
    #[arg(long)]
    pub(crate) ranges: bool,
    /// The raw image that the oldest layers stand on
    #[arg(long, value_name = "FILE")]
    pub(crate) backing: Option<PathBuf>,
    /// Compare though others have the files open for writing (what they write meanwhile fails the comparison, once
    /// it is noticed) or though a replica was never completed
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}
