//! lacuna on real filesystems, compared with what plain means see of the same files.
//!
//! `PROPTEST_CASES` sets how many cases every property is tried on.

mod chain;
mod content;
mod copy;
mod diff;
mod dig;
mod hash;
mod image;
mod layout;
mod partials;
mod paths;
mod receipt;
mod replica;
mod small;

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lacuna::{Access, Error, Image, ImageOptions, IoMode, Range};
use lacuna_testing::mount::{Fs, Mount, MountOptions};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestRunner};

/// Every way to read and write.
const IO_MODES: [IoMode; 3] = [IoMode::Buffered, IoMode::Direct, IoMode::Auto];

/// Tries `property` on `cases` values, unless the environment says how many.
fn for_all<S: Strategy>(cases: u32, values: S, property: impl Fn(S::Value)) {
    let said = std::env::var("PROPTEST_CASES").ok();
    let config = Config {
        cases: said.and_then(|said| said.parse().ok()).unwrap_or(cases),
        failure_persistence: None,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let tried = TestRunner::new(config).run(&values, |value| {
        property(value);
        Ok(())
    });
    if let Err(failure) = tried {
        panic!("{failure}");
    }
}

/// One mount of each filesystem that can be had here.
fn mounts() -> impl Iterator<Item = Mount> {
    Fs::ALL.into_iter().filter_map(Mount::new)
}

/// A filesystem made with more arguments for `mkfs`.
fn mount_with(fs: Fs, mkfs: &[&str]) -> Option<Mount> {
    let options = MountOptions {
        mkfs: mkfs.iter().map(ToString::to_string).collect(),
        ..MountOptions::default()
    };
    Mount::with(fs, &options)
}

/// The mark beside an image that is being written in place.
fn mark_of(image: &Path) -> PathBuf {
    let name = image.file_name().unwrap().to_str().unwrap();
    image.with_file_name(format!(".{name}.lacuna-unfinished"))
}

/// What a file takes on the disk, in bytes.
fn allocated(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

/// Changes whenever the file does.
fn changed_at(path: &Path) -> (i64, i64) {
    let metadata = std::fs::metadata(path).unwrap();
    (metadata.ctime(), metadata.ctime_nsec())
}

#[track_caller]
fn range(start: u64, end: u64) -> Range {
    Range::new(start, end).expect("a range")
}

fn open(path: &Path, access: Access, io: IoMode) -> lacuna::Result<Image> {
    let options = ImageOptions { access, io, ..ImageOptions::default() };
    Image::open(path, &options)
}

/// Tries again while what was just closed is still in use: a program that another test is starting
/// has it open until it runs.
fn patiently<T>(attempt: impl Fn() -> lacuna::Result<T>) -> lacuna::Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(error) if is_in_use(&error) && start.elapsed() < Duration::from_secs(5) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

fn is_in_use(error: &Error) -> bool {
    error.io_kind() == Some(ErrorKind::ResourceBusy)
        || matches!(error, Error::OpenForWriting { .. } | Error::OpenElsewhere { .. })
}

#[track_caller]
fn open_for_reading(path: &Path) -> Image {
    open(path, Access::Read, IoMode::Auto).expect("open an image")
}

#[track_caller]
fn open_for_writing(path: &Path) -> Image {
    patiently(|| open(path, Access::Write, IoMode::Auto)).expect("open an image")
}
