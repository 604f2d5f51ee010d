//! What the original does wrong, one module for each of its defects or two: none of it may come back.

mod bodies;
mod checksum;
mod close;
mod fragmented;
mod holes;
mod memory;
mod ranges;
mod source;
mod stopping;

use std::path::{Path, PathBuf};

use lacuna_testing::pattern::{Block, Pattern};
use tempfile::TempDir;

/// Bytes in a block.
const BLOCK: u64 = 4096;

/// Six blocks: four of data, a hole before the last two.
fn disk() -> Pattern {
    let [a, b, c, d] = [1, 2, 3, 4].map(Block::Data);
    Pattern::whole(vec![a, b, Block::Hole, Block::Hole, c, d])
}

/// The same but for one block.
fn old_disk() -> Pattern {
    let mut disk = disk();
    disk.blocks[4] = Block::Data(9);
    disk
}

/// The bytes of these blocks of [`disk`].
fn part(from: u64, to: u64) -> Vec<u8> {
    disk().bytes()[(from * BLOCK) as usize..(to * BLOCK) as usize].to_vec()
}

/// A directory that goes away, and a name in it.
fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("make a directory");
    let path = directory.path().join("disk.img");
    (directory, path)
}

/// Syncs [`disk`] to a target that was left unfinished, and fails unless that ends well.
#[track_caller]
fn assert_next_session_completes(target: &Path) {
    let (_directory, source) = place();
    disk().write(&source);
    crate::image::record(&source);
    let (synced, served) = crate::server::session(&source, target, &crate::options());
    synced.expect("a second sync");
    served.expect("a second session");
    crate::image::assert_same(&source, target);
    crate::image::assert_vouched(target);
    crate::image::assert_tidy(target);
}
