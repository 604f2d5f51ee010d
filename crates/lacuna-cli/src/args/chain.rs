//! Commands on replica directories: `chain`.

use std::path::PathBuf;

use clap::Subcommand;

use super::WorkArgs;

/// Look at the snapshot chain in a Longhorn replica directory.
///
/// DIR is the directory of one replica, like /var/lib/longhorn/replicas/pvc-1a2b-0f3c9a7e. Neither a cluster nor
/// an engine is needed, and nothing in it is ever written.
#[derive(Debug, clap::Args)]
pub(crate) struct ChainArgs {
    #[command(subcommand)]
    pub(crate) command: ChainCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChainCommand {
    Ls(ChainLsArgs),
    Check(ChainCheckArgs),
}

impl ChainArgs {
    /// The exit status when there is no answer.
    pub(crate) fn trouble(&self) -> u8 {
        match self.command {
            ChainCommand::Ls(_) => 1,
            ChainCommand::Check(_) => 2,
        }
    }
}

/// Show the layers of a replica directory as a tree, and what each is good for.
///
/// The base comes first; where several layers stand on one, those that do not lead to the head are marked with a
/// +. The strip under each shows which part of the volume it has: visible to who reads a newest layer, or hidden by
/// newer ones. `allocated` is what it takes on the disk, `exclusive` what of that no other file shares and would be
/// free without it, `hidden` what nobody sees. `dirty` means in use, or not closed in order.
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
