//! An image that changes while it is hashed. Digests walk its layout first, for which a tmpfs is
//! synced, and that is a point at which a test can change it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use lacuna::checksum_file::path_of;
use lacuna::hash::{HashOptions, Method, check, hash, write};
use lacuna::receipt::{ReceiptOptions, receipt};
use lacuna::{Cancel, Error, Progress, Result};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};

use crate::points::Points;

fn image(mount: &Mount) -> PathBuf {
    let path = mount.path().join("image");
    Pattern::whole(vec![Block::Data(1); 8]).write(&path);
    path
}

fn written(path: &Path) -> Result<()> {
    let (progress, cancel) = (Progress::default(), Cancel::default());
    let options = HashOptions::default();
    write(path, &options, &TimeZone::UTC, "", &progress, &cancel).map(drop)
}

/// Runs `action` and changes a byte of the image at the first point that it passes.
#[track_caller]
fn assert_refused(points: &Points, path: &Path, action: impl FnOnce() -> Result<()>) {
    let changed = path.to_owned();
    points.at(0, move || {
        let file = File::options().write(true).open(&changed).unwrap();
        file.write_all_at(&[7], 5000).unwrap();
    });
    let result = action();
    points.clear();
    assert!(matches!(result, Err(Error::Changed { .. })), "{result:?}");
}

#[test]
fn an_image_that_changes_meanwhile_has_no_digest() {
    let points = Points::take();
    let Some(mount) = Mount::new(Fs::Tmpfs) else { return };
    let path = image(&mount);
    let (progress, cancel) = (Progress::default(), Cancel::default());
    for method in [Method::Crc64, Method::Sha512, Method::Blake3] {
        let options = HashOptions { method, ..HashOptions::default() };
        assert_refused(&points, &path, || hash(&path, &options, &progress, &cancel).map(drop));
    }
    let options = ReceiptOptions::default();
    assert_refused(&points, &path, || receipt(&path, &options, &progress, &cancel).map(drop));
    assert!(progress.percent() < 100);
}

#[test]
fn an_image_that_changes_meanwhile_gets_no_checksum() {
    let points = Points::take();
    for fs in [Fs::Ext4, Fs::Tmpfs] {
        let Some(mount) = Mount::new(fs) else { continue };
        let path = image(&mount);
        assert_refused(&points, &path, || written(&path));
        assert!(!path_of(&path).exists());
        written(&path).unwrap();
        let before = std::fs::read(path_of(&path)).unwrap();
        assert_refused(&points, &path, || written(&path));
        assert_eq!(std::fs::read(path_of(&path)).unwrap(), before, "stale, as it is by now");
    }
}

#[test]
fn an_image_that_changes_while_it_is_checked_is_neither_sound_nor_corrupt() {
    let points = Points::take();
    let Some(mount) = Mount::new(Fs::Tmpfs) else { return };
    let path = image(&mount);
    written(&path).unwrap();
    let (options, progress, cancel) =
        (HashOptions::default(), Progress::default(), Cancel::default());
    assert_refused(&points, &path, || check(&path, &options, &progress, &cancel).map(drop));
}
