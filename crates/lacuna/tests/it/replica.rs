//! Replica directories of Longhorn, and chains that are only listed: what is read through them.

mod checked;
mod differing;
mod filesystem;
mod listing;
mod reading;
mod refused;

use std::path::{Path, PathBuf};

use lacuna::chain::{self, ChainOptions, Replica};
use lacuna::{Cancel, Error, Source};
use lacuna_testing::replica;

use crate::chain::oracle::Layer;

/// The volume, or one of its snapshots, when nobody has its files open for writing any more: a program that
/// another test is starting has them open until it runs.
fn opened(
    directory: &Path,
    snapshot: Option<&str>,
    options: &ChainOptions,
) -> Result<Source, Error> {
    at_rest(|| Replica::open(directory)?.source(snapshot, options, &Cancel::default()))
}

/// The same of layers that are listed.
fn listed(base_to_tip: &[PathBuf], options: &ChainOptions) -> Result<Source, Error> {
    at_rest(|| chain::open(base_to_tip, options, &Cancel::default()))
}

fn at_rest<T>(work: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    let mut tries = 0..200;
    loop {
        match work() {
            Err(Error::OpenForWriting { .. }) if tries.next().is_some() => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

/// What the layers of a made replica hold, the oldest first.
fn oracles(made: &replica::Replica) -> Vec<Layer> {
    made.layers.iter().map(|layer| Layer::of(&layer.pattern)).collect()
}
