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
    Check(ChainCheckArgs),
}

impl ChainArgs {
    /// The exit status when there is no answer.
    pub(crate) fn trouble(&self) -> u8 {
        match self.command {
            ChainCommand::Check(_) => 2,
        }
    }
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
