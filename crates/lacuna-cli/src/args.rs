//! The command line of `lacuna`.

mod chain;
mod directory;
mod export;
mod image;
mod layer;
mod serve;
mod squash;
mod sync;
mod transfer;

use std::ffi::OsString;

use clap::builder::RangedI64ValueParser;
use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, Subcommand, ValueEnum};
use lacuna::{IoMode, Reflink};

pub(crate) use chain::{ChainArgs, ChainCheckArgs, ChainCommand, ChainDiffArgs, ChainLsArgs};
pub(crate) use directory::PartialsArgs;
pub(crate) use export::ExportArgs;
pub(crate) use image::{DiffArgs, DigArgs, HashArgs, HashMethod, MapArgs};
pub(crate) use layer::{FoldArgs, PruneArgs};
pub(crate) use serve::ServeArgs;
pub(crate) use squash::SquashArgs;
pub(crate) use sync::SyncArgs;
pub(crate) use transfer::TransferArgs;

/// Map, sync, compare, fold and prune sparse disk images and snapshot layers.
///
/// Holes stay holes, unwritten space stays unwritten where the target can hold it, and what a command
/// reports as done survives a power cut. Exit status: 0 done, 1 failed, 2 wrong usage; of `diff`,
/// `chain diff`, `chain check` and `hash --check` 0 the same or sound, 1 different or unsound, 2 trouble.
#[derive(Debug, Parser)]
#[command(name = "lacuna", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Reads a command line, whose first word is the name of the command.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Args, clap::Error> {
    let args = Args::try_parse_from(words)?;
    // clap looks for conflicts on each side of the subcommand by itself.
    match args.output.quiet && args.output.verbose > 0 {
        true => Err(Args::command().error(
            ErrorKind::ArgumentConflict,
            "the argument '--quiet' cannot be used with '--verbose...'",
        )),
        false => Ok(args),
    }
}

/// What to say, and how.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct OutputArgs {
    /// Print one JSON object on standard output instead of text
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
    /// Say nothing but errors
    #[arg(long, short, global = true, conflicts_with = "verbose", help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Say more; twice, even more
    #[arg(long, short, global = true, action = ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,
    /// How to show progress on standard error
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Output")]
    pub(crate) progress: ProgressStyle,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressStyle {
    /// A bar on a terminal, a line every few seconds elsewhere
    #[default]
    Auto,
    /// One JSON object a line
    Json,
    /// None
    None,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Sync(SyncArgs),
    Export(ExportArgs),
    Chain(ChainArgs),
    Serve(ServeArgs),
    Map(MapArgs),
    Fold(FoldArgs),
    Prune(PruneArgs),
    Diff(DiffArgs),
    Dig(DigArgs),
    Hash(HashArgs),
    Partials(PartialsArgs),
}

/// Through the page cache or not.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct IoArgs {
    /// Use direct I/O, or fail
    #[arg(long, conflicts_with = "buffered")]
    direct: bool,
    /// Use the page cache
    #[arg(long)]
    buffered: bool,
}

impl IoArgs {
    pub(crate) fn mode(self) -> IoMode {
        match (self.direct, self.buffered) {
            (true, _) => IoMode::Direct,
            (_, true) => IoMode::Buffered,
            _ => IoMode::Auto,
        }
    }
}

/// How an image on this machine is worked through.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct WorkArgs {
    #[command(flatten)]
    pub(crate) io: IoArgs,
    /// Ranges worked on at the same time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = jobs())]
    jobs: u16,
}

impl WorkArgs {
    pub(crate) fn threads(self) -> usize {
        self.jobs.into()
    }
}

/// Whether space is shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReflinkChoice {
    /// Share space where the filesystem can, copy elsewhere
    #[default]
    Auto,
    /// Fail where the filesystem cannot
    Always,
    /// Copy
    Never,
}

impl From<ReflinkChoice> for Reflink {
    fn from(choice: ReflinkChoice) -> Self {
        match choice {
            ReflinkChoice::Auto => Self::Auto,
            ReflinkChoice::Always => Self::Always,
            ReflinkChoice::Never => Self::Never,
        }
    }
}

fn jobs() -> RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
