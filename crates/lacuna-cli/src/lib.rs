//! The commands `lacuna` and `ssync`: what was typed becomes calls of the libraries, and what they
//! return becomes a report.

// Their macros panic when nobody takes the words.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod endpoint;
mod failure;
mod go_flags;
mod hint;
mod map;
mod meter;
mod output;
mod report;
mod serve;
mod signals;
mod ssync;
mod strip;
mod sync;
mod units;

use std::process::ExitCode;

use args::Command;
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
    let result = match args.command {
        Command::Sync(sync) => sync::run(&sync, &output),
        Command::Serve(serve) => serve::run(&serve, &output),
        Command::Map(map) => map::run(&map, &output),
    };
    failure::exit_code(&hint::LACUNA, &output, result)
}

/// Runs `ssync` with the arguments of the process.
pub fn ssync_main() -> ExitCode {
    ssync::main(std::env::args_os().skip(1))
}
