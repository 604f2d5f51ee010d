//! `lacuna chain`: what a replica directory holds.

mod check;
mod diff;
mod ls;
pub(crate) mod squash;

use crate::args::{ChainArgs, ChainCommand, WorkArgs};
use crate::failure::Outcome;
use crate::output::Output;

pub(crate) fn run(args: &ChainArgs, output: &Output) -> anyhow::Result<Outcome> {
    match &args.command {
        ChainCommand::Ls(args) => ls::run(args, output).map(|()| Outcome::Good),
        ChainCommand::Check(args) => check::run(args, output),
        ChainCommand::Diff(args) => diff::run(args, output),
        ChainCommand::Squash(args) => squash::run(args, output).map(|()| Outcome::Good),
    }
}

/// How layers are read whose checksums are verified.
fn hash_options(work: WorkArgs) -> lacuna::hash::HashOptions {
    let (io, threads) = (work.io.mode(), work.threads());
    lacuna::hash::HashOptions { io, threads, ..Default::default() }
}
