//! `.checksum` files: what is written, and what a check makes of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::tz::{Offset, TimeZone};
use lacuna::checksum_file::{ChecksumFile, path_of};
use lacuna::hash::{HashOptions, Method, Verdict, check, write};
use lacuna::{Cancel, Error, Image, ImageOptions, Progress, Result};
use lacuna_testing::mount::{Fs, LoopDevice, Mount};
use lacuna_testing::pattern::{Block, Pattern};

use super::{METHODS, slow};
use crate::{mark_of, mounts};

fn image(mount: &Mount) -> PathBuf {
    let path = mount.path().join("volume-snap-a.img");
    let blocks = vec![Block::Data(1), Block::Zero, Block::Hole, Block::DataLastByte];
    Pattern { size: 3 * 4096 + 77, blocks }.write(&path);
    path
}

fn written(path: &Path, zone: &TimeZone, at: &str) -> Result<lacuna::hash::Hashed> {
    let (progress, cancel) = (Progress::default(), Cancel::default());
    let written = write(path, &HashOptions::default(), zone, at, &progress, &cancel);
    assert_eq!(progress.percent(), if written.is_ok() { 100 } else { 0 });
    written
}

fn verdict(path: &Path) -> Result<Verdict> {
    // The method is the one of the file, whatever the options say.
    let options = HashOptions { method: Method::Blake3, ..HashOptions::default() };
    check(path, &options, &Progress::default(), &Cancel::default())
}

/// Changes what the `.checksum` says.
fn edit(path: &Path, edit: impl FnOnce(&mut ChecksumFile)) {
    let mut file = ChecksumFile::read(path).unwrap().unwrap();
    edit(&mut file);
    file.write(path).unwrap();
}

/// The change time as `stat` prints it, and as Go does.
fn change_time(path: &Path) -> String {
    let stat = Command::new("stat").env("TZ", "UTC").args(["-c", "%z"]).arg(path).output().unwrap();
    let stat = String::from_utf8(stat.stdout).unwrap();
    let (time, offset) = stat.trim().rsplit_once(' ').unwrap();
    let time = match time.split_once('.') {
        Some((seconds, fraction)) if fraction.bytes().all(|digit| digit == b'0') => seconds,
        _ => time.trim_end_matches('0'),
    };
    format!("{time} {offset} UTC")
}

#[test]
fn what_is_written_is_what_longhorn_writes() {
    for mount in mounts() {
        let path = image(&mount);
        let crc64 = slow(Method::Crc64, &std::fs::read(&path).unwrap());
        for method in METHODS {
            let options = HashOptions { method, ..HashOptions::default() };
            let at = "2026-01-31T12:00:00Z";
            let (progress, cancel) = (Progress::default(), Cancel::default());
            let hashed = write(&path, &options, &TimeZone::UTC, at, &progress, &cancel).unwrap();
            assert_eq!((hashed.method, hashed.digest.as_str()), (Method::Crc64, crc64.as_str()));
            let expected = format!(
                "{{\"method\":\"crc64\",\"checksum\":\"{crc64}\",\"change_time\":\"{}\",\
                 \"last_hashed_at\":\"{at}\",\"silently_corrupted\":false}}\n",
                change_time(&path)
            );
            assert_eq!(std::fs::read_to_string(path_of(&path)).unwrap(), expected);
        }
        let fresh = ChecksumFile::fresh(&Image::open(&path, &ImageOptions::default()).unwrap());
        assert_eq!(fresh.unwrap().unwrap().checksum, crc64);
        let Verdict::Sound(hashed) = verdict(&path).unwrap() else { panic!("{}", mount.fs()) };
        assert_eq!((hashed.method, hashed.digest), (Method::Crc64, crc64));
    }
}

#[test]
fn the_zone_is_the_one_that_was_given_and_does_not_matter_to_a_check() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    let path = image(&mount);
    let zone = TimeZone::fixed(Offset::constant(-3));
    written(&path, &zone, "").unwrap();
    let file = ChecksumFile::read(&path).unwrap().unwrap();
    assert!(file.change_time.contains(" -0300 "), "{}", file.change_time);
    assert_eq!(file.last_hashed_at, "");
    assert!(matches!(verdict(&path).unwrap(), Verdict::Sound(_)));
}

#[test]
fn a_checksum_takes_the_place_of_an_older_one() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let path = image(&mount);
    std::fs::write(path_of(&path), "not even JSON").unwrap();
    written(&path, &TimeZone::UTC, "").unwrap();
    assert!(matches!(verdict(&path).unwrap(), Verdict::Sound(_)));
}

#[test]
fn a_device_an_unfinished_image_and_one_that_is_none_get_no_checksum() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let path = image(&mount);
    std::fs::write(mark_of(&path), "").unwrap();
    let refused = written(&path, &TimeZone::UTC, "");
    assert!(matches!(refused, Err(Error::Unfinished { .. })), "{refused:?}");
    assert!(!path_of(&path).exists());
    let refused = written(mount.path(), &TimeZone::UTC, "");
    assert!(matches!(refused, Err(Error::NotAnImage { .. })), "{refused:?}");
    let Some(device) = LoopDevice::new(1 << 20) else { return };
    let refused = crate::patiently(|| written(device.path(), &TimeZone::UTC, ""));
    assert!(matches!(refused, Err(Error::NotAnImage { .. })), "{refused:?}");
    assert!(!path_of(device.path()).exists());
}

#[test]
fn stopped_it_leaves_the_checksum_that_was_there() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let path = image(&mount);
    written(&path, &TimeZone::UTC, "before").unwrap();
    let before = std::fs::read(path_of(&path)).unwrap();
    let cancel = Cancel::default();
    cancel.cancel();
    let (options, progress) = (HashOptions::default(), Progress::default());
    let stopped = write(&path, &options, &TimeZone::UTC, "after", &progress, &cancel);
    assert!(matches!(stopped, Err(Error::Cancelled)));
    assert_eq!(std::fs::read(path_of(&path)).unwrap(), before);
}

#[test]
fn an_image_that_was_touched_or_changed_since_has_a_stale_checksum() {
    for mount in mounts() {
        let path = image(&mount);
        let later = std::time::SystemTime::now();
        let touch = || std::fs::File::open(&path).unwrap().set_modified(later).unwrap();
        let change = || std::fs::write(&path, "other").unwrap();
        let changes: [&dyn Fn(); 2] = [&touch, &change];
        for change in changes {
            written(&path, &TimeZone::UTC, "").unwrap();
            change();
            assert!(matches!(verdict(&path).unwrap(), Verdict::Stale { .. }), "{}", mount.fs());
        }
    }
}

#[test]
fn other_bytes_under_the_same_change_time_are_corrupt() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let path = image(&mount);
    let crc64 = slow(Method::Crc64, &std::fs::read(&path).unwrap());
    written(&path, &TimeZone::UTC, "").unwrap();
    let changes: [fn(&mut ChecksumFile); 3] = [
        |file| file.checksum = "0123456789abcdef".to_owned(),
        |file| file.checksum = String::new(),
        |file| file.silently_corrupted = true,
    ];
    for change in changes {
        let before = ChecksumFile::read(&path).unwrap().unwrap();
        edit(&path, change);
        let Verdict::Corrupt { hashed, .. } = verdict(&path).unwrap() else {
            panic!("not corrupt")
        };
        assert_eq!(hashed.digest, crc64);
        before.write(&path).unwrap();
        assert!(matches!(verdict(&path).unwrap(), Verdict::Sound(_)));
    }
    // A time that is none is that of no image.
    edit(&path, |file| file.change_time = "yesterday".to_owned());
    assert!(matches!(verdict(&path).unwrap(), Verdict::Stale { .. }));
}

#[test]
fn what_is_no_checksum_of_this_kind_is_said_to_be_so() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let path = image(&mount);
    assert_eq!(verdict(&path).unwrap(), Verdict::Missing);
    for text in ["", "{", "[]", "{\"method\":\"crc64\"}", "\u{0}\u{0}"] {
        std::fs::write(path_of(&path), text).unwrap();
        let error = verdict(&path).unwrap_err();
        assert!(matches!(&error, Error::Malformed { path: named, .. } if *named == path_of(&path)));
    }
    std::fs::write(path_of(&path), vec![b' '; 1 << 20]).unwrap();
    assert_eq!(verdict(&path).unwrap_err().io_kind(), Some(std::io::ErrorKind::InvalidData));
    written(&path, &TimeZone::UTC, "").unwrap();
    edit(&path, |file| file.method = "sha512".to_owned());
    let error = verdict(&path).unwrap_err();
    assert!(matches!(&error, Error::Malformed { reason, .. } if reason.contains("sha512")));

    std::fs::write(mark_of(&path), "").unwrap();
    assert!(matches!(verdict(&path), Err(Error::Unfinished { .. })));
}

#[test]
fn a_checksum_beside_a_device_proves_nothing() {
    let Some(device) = LoopDevice::new(1 << 20) else { return };
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(device.path(), &link).unwrap();
    assert_eq!(verdict(&link).unwrap(), Verdict::Missing);
    let crc64 = slow(Method::Crc64, &std::fs::read(device.path()).unwrap());
    let file = ChecksumFile {
        method: "crc64".to_owned(),
        checksum: crc64,
        change_time: change_time(device.path()),
        last_hashed_at: String::new(),
        silently_corrupted: false,
    };
    file.write(&link).unwrap();
    // It is not where that of a device would lie.
    assert_eq!(verdict(&link).unwrap(), Verdict::Missing);
}
