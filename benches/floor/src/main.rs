//! The floor: small bare programs of the system calls that a copy, a comparison and a punch cannot do
//! without. What they take on a machine is what its hardware and kernel allow; `benches/peers.sh`
//! times lacuna beside them.
//!
//! Every subcommand prints one line of `key=value` pairs and exits 0, with 1 when something failed
//! and 2 when it was called wrongly. `floor run` exits as the command that it ran did.

mod aligned_buf;
mod args;
mod copy;
mod extents;
mod failure;
mod fiemap;
mod image;
mod loopback;
mod parallel;
mod random;
mod read;
mod run;
mod sample;
mod timing;
mod update;

use std::process::ExitCode;

use crate::args::Args;
use crate::failure::{Failure, Result};

const USAGE: &str = "\
usage: floor copy SRC DST [--threads N] [--chunk-kib K]     direct copy to a fresh DST, and fsync
       floor copy-best SRC DST                              the best threads and chunk for `copy`
       floor read2 A B [--threads N] [--chunk-kib K] [--buffered] [--hash]
                                                            read both files at once, and hash them
       floor update SRC DST [--threads N] [--chunk-kib K] [--buffered]
                                                            read both, write the blocks that differ
       floor extents DST SIZE [--every-second-block] [--direct] [--threads N] [--beside FILE]
                                                            4 KiB writes to a fresh DST, one fsync;
                                                            FILE is read at the same time
       floor fold SRC DST [--unit SIZE] [--threads N] [--buffered]
                                                            every second unit of SRC into DST, one fsync
       floor punch FILE                                     punch every second block, and fsync
       floor make FILE SIZE full|alternating|sparse|unwritten [--unit SIZE] [--unwritten] [--seed N]
             [--every N] [--first N]                        write a sample image; alternating: every
                                                            N-th unit (default 2), from one on
       floor change FILE [--percent P] [--seed N]           rewrite P % of the blocks (default 1)
       floor loopback BYTES                                 one TCP connection on this machine
       floor fiemap FILE                                    walk the layout
       floor run [--report FILE] [--fsync PATH] -- CMD...   time CMD and watch its memory
SIZE and BYTES take a suffix K, M or G (binary).";

fn main() -> ExitCode {
    match start() {
        Ok(code) => code,
        Err(failure @ Failure::Usage(_)) => {
            eprintln!("floor: {failure}\n{USAGE}");
            ExitCode::from(2)
        }
        Err(failure) => {
            eprintln!("floor: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the subcommand named by the first argument and prints its line.
fn start() -> Result<ExitCode> {
    let mut args = Args::from_env()?;
    let command = args.command()?;
    let line = match command.as_str() {
        "copy" => copy::copy(args)?.to_string(),
        "copy-best" => copy::copy_best(args)?,
        "read2" => read::read2(args)?.to_string(),
        "update" => update::update(args)?.to_string(),
        "extents" => extents::extents(args)?.to_string(),
        "fold" => extents::fold(args)?.to_string(),
        "punch" => extents::punch(args)?.to_string(),
        "make" => sample::make(args)?.to_string(),
        "change" => sample::change(args)?.to_string(),
        "loopback" => loopback::loopback(args)?.to_string(),
        "fiemap" => fiemap::fiemap(args)?,
        "run" => return run::run(args),
        "help" | "--help" | "-h" => USAGE.to_owned(),
        other => return Err(Failure::Usage(format!("no such subcommand: {other}"))),
    };
    println!("{line}");
    Ok(ExitCode::SUCCESS)
}
