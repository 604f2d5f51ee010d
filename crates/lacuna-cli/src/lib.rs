//! The commands `lacuna` and `ssync`: what was typed becomes calls of the libraries, and what they
//! return becomes a report.

mod args;
mod endpoint;
mod failure;
mod go_flags;
mod map;
mod meter;
mod output;
mod serve;
mod ssync;
mod strip;
mod sync;
mod units;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use output::Output;

/// Runs `lacuna` with the arguments of the process.
pub fn lacuna_main() -> ExitCode {
    let args = Args::parse();
    let output = Output::new(&args.output);
    let result = match args.command {
        Command::Sync(sync) => sync::run(&sync, &output),
        Command::Serve(serve) => serve::run(&serve, &output),
        Command::Map(map) => map::run(&map, &output),
    };
    failure::exit_code("lacuna", &output, result)
}

/// Runs `ssync` with the arguments of the process.
pub fn ssync_main() -> ExitCode {
    ssync::main(std::env::args_os().skip(1))
}
