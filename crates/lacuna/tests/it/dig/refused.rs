//! What is not dug at all, and how digging stops.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lacuna::dig::{DigOptions, apply, plan};
use lacuna::{Access, Cancel, Error, IoMode, Progress};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};

use super::{dug, has_checksum, planned, put_checksum};
use crate::content::Content;
use crate::{changed_at, mark_of, mounts, open};

fn image(mount: &Mount) -> PathBuf {
    let path = mount.path().join("image");
    Pattern::whole(vec![Block::Data(0), Block::Zero, Block::Data(1)]).write(&path);
    put_checksum(&path);
    path
}

/// The errors of a plan and of digging, which leave the image as it is.
#[track_caller]
fn refused(path: &Path) -> [Error; 2] {
    let before = (Content::of(path), changed_at(path));
    let options = DigOptions::default();
    let errors = [planned(path, &options).unwrap_err(), dug(path, &options).unwrap_err()];
    Content::of(path).assert_is(&before.0, "untouched");
    assert_eq!(changed_at(path), before.1);
    assert!(has_checksum(path));
    errors
}

#[test]
fn what_is_open_for_writing_elsewhere_is_not_dug() {
    for mount in mounts() {
        let path = image(&mount);
        let before = (Content::of(&path), changed_at(&path));
        let (options, progress) = (DigOptions::default(), Progress::default());
        let writer = File::options().append(true).open(&path).unwrap();
        for error in [
            plan(&path, &options, &progress, &Cancel::default()).unwrap_err(),
            apply(&path, &options, &progress, &Cancel::default()).unwrap_err(),
        ] {
            assert!(matches!(error, Error::OpenForWriting { .. }), "{}: {error:?}", mount.fs());
        }
        Content::of(&path).assert_is(&before.0, "untouched");
        assert_eq!(changed_at(&path), before.1);
        assert!(has_checksum(&path));
        drop(writer);
        let reader = File::open(&path).unwrap();
        plan(&path, &options, &progress, &Cancel::default()).unwrap();
        let error = apply(&path, &options, &progress, &Cancel::default()).unwrap_err();
        assert!(matches!(error, Error::OpenElsewhere { .. }), "{}: {error:?}", mount.fs());
        Content::of(&path).assert_is(&before.0, "untouched");
        assert!(has_checksum(&path));
        drop(reader);
        dug(&path, &options).unwrap();
    }
}

#[test]
fn what_another_reads_under_a_lock_is_not_dug() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let path = image(&mount);
    let reader = open(&path, Access::Read, IoMode::Buffered).unwrap();
    reader.lock().unwrap();
    planned(&path, &DigOptions::default()).unwrap();
    let error = dug(&path, &DigOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error:?}");
    assert!(has_checksum(&path));
}

#[test]
fn what_is_unfinished_is_not_dug() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    let path = image(&mount);
    std::fs::write(mark_of(&path), "").unwrap();
    for error in refused(&path) {
        assert!(matches!(error, Error::Unfinished { .. }), "{error:?}");
    }
}

#[test]
fn what_may_not_be_written_is_planned_and_not_dug() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let path = image(&mount);
    let change = |how| {
        let status = Command::new("chattr").arg(how).arg(&path).status();
        assert!(status.unwrap().success());
    };
    let before = Content::of(&path);
    change("+i");
    assert_eq!(planned(&path, &DigOptions::default()).unwrap().dug_bytes, 8192);
    let error = dug(&path, &DigOptions::default()).unwrap_err();
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::PermissionDenied), "{error:?}");
    change("-i");
    Content::of(&path).assert_is(&before, "untouched");
    assert!(has_checksum(&path));
}

#[test]
fn what_is_missing_or_no_image_is_not_dug() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let options = DigOptions::default();
    for path in [mount.path(), Path::new("/dev/null")] {
        for error in [planned(path, &options).unwrap_err(), dug(path, &options).unwrap_err()] {
            assert!(matches!(error, Error::NotAnImage { .. }), "{error:?}");
        }
    }
    let error = dug(&mount.path().join("nowhere"), &options).unwrap_err();
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::NotFound));
}

#[test]
fn it_stops_when_asked_to_and_the_bytes_are_the_same() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let path = mount.path().join("image");
    let file = File::create(&path).unwrap();
    for piece in 0..100 {
        file.write_all_at(&[0; 4096], piece << 20).unwrap();
    }
    file.sync_all().unwrap();
    drop(file);
    let (cancel, options) = (Cancel::default(), DigOptions::default());
    cancel.cancel();
    let changed = changed_at(&path);
    assert!(matches!(plan(&path, &options, &Progress::default(), &cancel), Err(Error::Cancelled)));
    assert!(matches!(apply(&path, &options, &Progress::default(), &cancel), Err(Error::Cancelled)));
    assert_eq!(changed_at(&path), changed);
}
