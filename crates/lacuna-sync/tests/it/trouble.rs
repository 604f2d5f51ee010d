//! Peers that are not there, go away, misbehave or are something else, and disks that will not do.

mod connecting;
mod disks;
mod gone;
mod others;
mod retries;
mod strangers;
mod time_outs;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lacuna_sync::Error;
use lacuna_testing::pattern::{Block, Pattern};
use tempfile::TempDir;

/// More than anything here takes that is not stuck.
const SOON: Duration = Duration::from_secs(20);

/// A directory that goes away, and a name in it.
fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("make a directory");
    let path = directory.path().join("disk.img");
    (directory, path)
}

/// A source: 2 MiB of data in pieces.
fn disk() -> Pattern {
    let blocks = (0..1000).map(|block| match block % 250 {
        0..128 => Block::Data(1 + (block / 4) as u8),
        _ => Block::Hole,
    });
    Pattern::whole(blocks.collect())
}

fn put_source() -> (TempDir, PathBuf) {
    let (directory, path) = place();
    disk().write(&path);
    (directory, path)
}

/// The whole error, on one line.
fn words(error: &Error) -> String {
    lacuna::describe(error)
}

#[track_caller]
fn assert_soon(since: Instant) {
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
}

/// Fails unless a new session from `source` completes `target`.
#[track_caller]
fn assert_next_session_completes(source: &Path, target: &Path) {
    let (synced, served) = crate::server::session(source, target, &crate::options());
    synced.expect("a second sync");
    served.expect("a second session");
    crate::image::assert_same(source, target);
    crate::image::assert_tidy(target);
}
