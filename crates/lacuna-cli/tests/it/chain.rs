//! What is said of replica directories.

mod check;
mod diff;
mod ls;
mod stopped;

use std::path::{Path, PathBuf};
use std::process::Command;

use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};
use lacuna_testing::replica::Replica;

use crate::common::lacuna;

fn chain(command: &str, directories: &[&Path], more: &[&str]) -> Command {
    let mut chain = lacuna();
    chain.args(["chain", command]).args(more).args(directories);
    chain
}

/// A replica of three layers of four blocks: `s0` has all, `s1` the first two, the head the second and third.
fn line() -> Replica {
    use Block::{Data, Hole, Zero};
    Replica::line(vec![
        Pattern::whole(vec![Data(1); 4]),
        Pattern::whole(vec![Data(2), Data(2), Hole, Hole]),
        Pattern::whole(vec![Hole, Data(3), Zero, Hole]),
    ])
}

/// The same as files.
fn place() -> Option<(Mount, PathBuf)> {
    let mount = Mount::new(Fs::Ext4)?;
    let directory = make(&mount, "replica", &line());
    Some((mount, directory))
}

fn make(mount: &Mount, name: &str, replica: &Replica) -> PathBuf {
    let directory = mount.path().join(name);
    std::fs::create_dir(&directory).unwrap();
    replica.write(&directory);
    directory
}
