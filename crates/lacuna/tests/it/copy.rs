//! Copies: what they make of a target, what they refuse, and what they leave behind.

mod device;
mod expected;
mod full;
mod planned;
mod properties;
mod reflink;
mod refused;

use std::path::Path;

use lacuna::copy::{CopyOptions, CopyPlan, CopyStats};
use lacuna::{Cancel, Progress, Stopped, checksum_file};

use crate::paths::{compare, copy};
use crate::patiently;

/// Copies to the end, whatever it takes.
#[track_caller]
fn copied(source: &Path, target: &Path, options: &CopyOptions) -> CopyStats {
    let run = || {
        let copied = copy(source, target, options, &Progress::default(), &Cancel::default());
        copied.map_err(|stopped| stopped.cause)
    };
    patiently(run).unwrap_or_else(|error| {
        use std::error::Error as _;
        panic!("copy {}: {error}: {:?}", source.display(), error.source())
    })
}

/// What a copy would do, by comparing.
fn compared(source: &Path, target: &Path, options: &CopyOptions) -> lacuna::Result<CopyPlan> {
    compare(source, target, options, &Progress::default(), &Cancel::default())
}

#[track_caller]
fn stopped(source: &Path, target: &Path) -> Stopped {
    let options = CopyOptions::default();
    copy(source, target, &options, &Progress::default(), &Cancel::default()).unwrap_err()
}

#[track_caller]
fn refused(source: &Path, target: &Path) -> lacuna::Error {
    stopped(source, target).cause
}

/// Leaves a `.checksum` beside an image: what it says does not matter here.
fn put_checksum(image: &Path) {
    std::fs::write(checksum_file::path_of(image), "{}").unwrap();
}

fn has_checksum(image: &Path) -> bool {
    checksum_file::path_of(image).exists()
}

/// The names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}
