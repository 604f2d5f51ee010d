//! The commands `lacuna`, `ssync` and `sfold`: what was typed becomes calls of the libraries, and what they
//! return becomes a report.

// Their macros panic when nobody takes the words.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod chain;
mod clock;
mod diff;
mod dig;
mod endpoint;
mod export;
mod failure;
mod fold;
mod go_flags;
mod hash;
mod lines;
mod list;
mod map;
mod meter;
mod output;
mod partials;
mod prune;
mod remedy;
mod remote;
mod replica;
mod report;
mod serve;
mod sfold;
mod signals;
mod ssync;
mod strangers;
mod strip;
mod sync;
mod units;

use std::process::ExitCode;

use args::{ChainCommand, Command};
use failure::Outcome;
use output::Output;

/// Runs `lacuna` with the arguments of the process.
pub fn lacuna_main() -> ExitCode {
    let args = match args::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => {
            let json = std::env::args_os().any(|word| word == "--json");
            return failure::usage(&error, json);
        }
    };
    let output = Output::new(&args.output);
    let done = |()| Outcome::Good;
    let words = match &args.command {
        Command::Chain(chain) if matches!(chain.command, ChainCommand::Squash(_)) => {
            &remedy::SQUASH
        }
        Command::Export(_) | Command::Chain(_) => &remedy::CHAIN,
        _ => &remedy::LACUNA,
    };
    let (result, trouble) = match args.command {
        Command::Sync(sync) => (sync::run(&sync, &output).map(done), 1),
        Command::Export(export) => (export::run(&export, &output).map(done), 1),
        Command::Chain(chain) => (chain::run(&chain, &output), chain.trouble()),
        Command::Serve(serve) => (serve::run(&serve, &output), 1),
        Command::Map(map) => (map::run(&map, &output).map(done), 1),
        Command::Fold(fold) => (fold::run(&fold, &output).map(done), 1),
        Command::Prune(prune) => (prune::run(&prune, &output).map(done), 1),
        Command::Diff(diff) => (diff::run(&diff, &output), 2),
        Command::Dig(dig) => (dig::run(&dig, &output).map(done), 1),
        Command::Hash(hash) => (hash::run(&hash, &output), if hash.check { 2 } else { 1 }),
        Command::Partials(partials) => (partials::run(&partials, &output).map(done), 1),
    };
    let code = failure::exit_code(words, &output, result, trouble);
    lines::flush();
    code
}

/// Runs `ssync` with the arguments of the process.
pub fn ssync_main() -> ExitCode {
    ssync::main(std::env::args_os().skip(1))
}

/// Runs `sfold` with the arguments of the process.
pub fn sfold_main() -> ExitCode {
    sfold::main(std::env::args_os().skip(1))
}
