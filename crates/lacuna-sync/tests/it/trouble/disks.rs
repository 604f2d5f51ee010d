//! Sources that cannot be read and targets that cannot be written.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use lacuna::IoMode;
use lacuna_sync::Error;
use lacuna_sync::v1::SyncOptions;
use lacuna_testing::mount::{Fs, Mount, MountOptions};
use rustix::fs::{FallocateFlags, fallocate, fstatvfs, syncfs};

use super::{assert_next_session_completes, disk, place, put_source, words};
use crate::image::{Beside, assert_tidy, bytes_of, checksum_of, put, record};
use crate::options;
use crate::original::Original;
use crate::relay::{Fate, Relay};
use crate::server::{Server, session, sync, sync_by};

/// A filesystem with room for less than half of the image.
struct Full {
    mount: Mount,
    filler: PathBuf,
}

impl Full {
    fn new(fs: Fs, target: Option<&[u8]>) -> Option<(Self, PathBuf)> {
        let mount = Mount::with(fs, &MountOptions { size_mib: 16, ..MountOptions::default() })?;
        let (filler, path) = (mount.path().join("filler"), mount.path().join("target.img"));
        if let Some(bytes) = target {
            put(&path, bytes);
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(disk().size).unwrap();
            record(&path);
        }
        let file = File::create(&filler).unwrap();
        let space = fstatvfs(&file).unwrap();
        let taken = space.f_bavail * space.f_frsize - (900 << 10);
        fallocate(&file, FallocateFlags::empty(), 0, taken).unwrap();
        file.sync_all().unwrap();
        Some((Self { mount, filler }, path))
    }

    /// XFS gives back what is removed some time later, but what is cut at once.
    fn make_room(&self) {
        let file = File::create(&self.filler).unwrap();
        syncfs(&file).unwrap();
    }
}

#[test]
fn a_full_disk_is_called_that_on_both_sides_and_the_next_session_completes() {
    let (_directory, source) = put_source();
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Tmpfs] {
        for (before, target_io) in [
            (None, IoMode::Direct),
            (None, IoMode::Buffered),
            (Some(b"old".as_slice()), IoMode::Direct),
            (Some(b"old"), IoMode::Buffered),
        ] {
            let Some((full, target)) = Full::new(fs, before) else { continue };
            let options = SyncOptions { target_io, ..options() };
            let (synced, served) = session(&source, &target, &options);
            let error = synced.expect_err("a full disk");
            assert!(words(&error).contains("no space left on device"), "{fs}: {}", words(&error));
            assert!(error.remedy().unwrap().contains("free some space"), "{fs}: {error:?}");
            served.expect_err("an incomplete image");
            let left =
                Beside { data: before.is_none(), unfinished: before.is_some(), others: vec![] };
            assert_eq!(Beside::of(&target), left, "{fs}");
            assert!(!checksum_of(&target).exists());
            full.make_room();
            assert_next_session_completes(&source, &target);
            assert_eq!(full.mount.fs(), fs);
        }
    }
}

#[test]
fn a_source_that_is_none_is_refused_before_anybody_is_called() {
    let (directory, missing) = place();
    let fifo = directory.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    for (source, expected) in [
        (missing.as_path(), "no such file or directory"),
        (directory.path(), "is a directory"),
        (&fifo, "is a pipe"),
        (Path::new("/dev/null"), "is a character device"),
    ] {
        let original = Original::of(None);
        let error = sync(source, &original.address, &options()).unwrap_err();
        assert!(words(&error).contains(expected), "{}", words(&error));
        assert!(words(&error).contains(source.to_str().unwrap()), "{}", words(&error));
        assert_eq!(original.targets(), [""; 0]);
    }
}

#[test]
fn a_source_that_cannot_be_read_fails_and_the_target_is_unfinished() {
    let (_directory, target) = place();
    for fs in [Fs::Ext4, Fs::Xfs] {
        let Some(mut mount) = Mount::new(fs) else { continue };
        let source = mount.path().join("disk.img");
        disk().write(&source);
        let server = Server::of(&target);
        let (cut, done) = (mount.power_cutter(), AtomicBool::new(false));
        let relay = Relay::to(&server.address, move |_| {
            if !done.swap(true, Ordering::SeqCst) {
                cut();
            }
            Fate::Pass
        });
        let error = sync_by(IoMode::Direct, &source, &relay.address, &options()).unwrap_err();
        assert!(matches!(error, Error::Image(_)), "{error:?}");
        assert!(words(&error).contains("input/output error"), "{}", words(&error));
        server.failed();
        assert!(!target.exists());
        mount.remount();
        assert_next_session_completes(&source, &target);
        std::fs::remove_file(&target).unwrap();
    }
}

#[test]
fn a_target_that_cannot_be_is_refused_with_the_words_of_the_system() {
    let (_source_directory, source) = put_source();
    let (directory, _) = place();
    let dangling = directory.path().join("dangling");
    symlink(directory.path().join("nothing"), &dangling).unwrap();
    for (target, expected) in [
        (directory.path().join("no/such/disk.img"), "no such file or directory"),
        (directory.path().to_owned(), "is a directory"),
        (dangling, "is a symbolic link to a file that does not exist"),
        (directory.path().join("x".repeat(240)), "file name too long"),
    ] {
        let (synced, _) = session(&source, &target, &options());
        let error = synced.unwrap_err();
        assert!(words(&error).contains(expected), "{}", words(&error));
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn an_image_is_not_synced_to_itself_under_any_name() {
    let (directory, source) = put_source();
    record(&source);
    let (link, hard) = (directory.path().join("link.img"), directory.path().join("hard.img"));
    symlink(&source, &link).unwrap();
    std::fs::hard_link(&source, &hard).unwrap();
    let before = bytes_of(&source);
    for fast in [false, true] {
        for target in [&source, &link, &hard] {
            let server = Server::of(target);
            match sync(&source, &server.address, &SyncOptions { fast, ..options() }) {
                // Both checksums are one.
                Ok(stats) => assert!(stats.skipped && fast),
                Err(error) => {
                    let words = words(&error);
                    assert!(words.contains("is in use by another process"), "{words}");
                }
            }
            let _ = server.stopped();
            assert!(bytes_of(&source) == before, "the image is lost");
            assert_tidy(&source);
        }
    }
}

#[test]
fn a_source_that_was_left_unfinished_is_not_sent() {
    let (_directory, source) = put_source();
    put(&crate::image::mark_of(&source), b"");
    let original = Original::of(None);
    let error = sync(&source, &original.address, &options()).unwrap_err();
    assert!(matches!(error, Error::Image(lacuna::Error::Unfinished { .. })), "{error:?}");
    assert_eq!(original.targets(), [""; 0]);
}

#[test]
fn a_malformed_checksum_beside_the_source_is_no_reason_to_fail() {
    let (_directory, source) = put_source();
    let (_target_directory, target) = place();
    for text in ["", "{", "null", "[]", "{\"method\":\"crc64\"}"] {
        std::fs::write(checksum_of(&source), text).unwrap();
        assert_next_session_completes(&source, &target);
        assert!(!checksum_of(&target).exists());
    }
}
