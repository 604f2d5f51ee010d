//! A filesystem without room for the target.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lacuna::copy::CopyOptions;
use lacuna::{Error, IoMode, system_words};
use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Pattern};
use rustix::fs::{FallocateFlags, fallocate, fstatvfs, syncfs};

use super::{copied, has_checksum, names, put_checksum, refused};
use crate::IO_MODES;
use crate::content::Content;
use crate::mark_of;

/// An image of 8 MiB, and a mount that has room for a quarter of it beside a file.
struct FullMount {
    mount: Mount,
    _from: Mount,
    source: PathBuf,
    filler: PathBuf,
}

impl FullMount {
    fn new(fs: Fs) -> Option<Self> {
        let from = Mount::new(Fs::Ext4)?;
        let source = from.path().join("source");
        Pattern::whole(vec![Block::Data(1); 2048]).write(&source);
        let mount = Mount::with(fs, &MountOptions { size_mib: 24, ..MountOptions::default() })?;
        let filler = mount.path().join("filler");
        Some(Self { mount, _from: from, source, filler })
    }

    /// Takes all room but 2 MiB.
    fn fill(&self) {
        let file = File::create(&self.filler).unwrap();
        let space = fstatvfs(&file).unwrap();
        let taken = space.f_bavail * space.f_frsize - (2 << 20);
        fallocate(&file, FallocateFlags::empty(), 0, taken).unwrap();
        file.sync_all().unwrap();
    }

    fn make_room(&self) {
        give_back(&self.filler);
    }
}

/// Removes a file so that its room is free at once: XFS does that later for one that is only removed.
fn give_back(path: &Path) {
    let file = File::create(path).unwrap();
    std::fs::remove_file(path).unwrap();
    syncfs(&file).unwrap();
}

#[track_caller]
fn assert_no_space(error: &Error) {
    assert_eq!(error.io_kind(), Some(ErrorKind::StorageFull), "{error:?}");
    let source = std::error::Error::source(error).unwrap();
    let words = system_words(source.downcast_ref().unwrap());
    assert_eq!(words, "no space left on device");
    assert!(error.remedy().unwrap().contains("free some space"));
}

#[track_caller]
fn assert_complete(source: &Path, target: &Path, fs: Fs) {
    Content::of(target).assert_is(&Content::of(source).held_by(fs), "after there was room");
    let names = names(target.parent().unwrap());
    assert!(!names.iter().any(|name| name.starts_with('.')), "{names:?}");
}

#[test]
fn a_new_target_without_room_has_no_name_until_there_is_room() {
    for full in [Fs::Ext4, Fs::Xfs, Fs::Tmpfs].into_iter().filter_map(FullMount::new) {
        let target = full.mount.path().join("target");
        for io in IO_MODES {
            let options = CopyOptions { io, ..CopyOptions::default() };
            full.fill();
            assert_no_space(&refused(&full.source, &target));
            assert!(!target.exists());
            assert!(names(full.mount.path()).contains(&".target.lacuna-data".to_owned()));
            full.make_room();
            copied(&full.source, &target, &options);
            assert_complete(&full.source, &target, full.mount.fs());
            give_back(&target);
        }
    }
}

#[test]
fn an_existing_target_without_room_is_unfinished_until_there_is_room() {
    for full in [Fs::Ext4, Fs::Xfs, Fs::Tmpfs].into_iter().filter_map(FullMount::new) {
        let target = full.mount.path().join("target");
        Pattern::whole(vec![Block::Hole; 2048]).write(&target);
        put_checksum(&target);
        full.fill();
        assert_no_space(&refused(&full.source, &target));
        assert!(mark_of(&target).exists());
        assert!(!has_checksum(&target));
        let error = refused(&target, &full.mount.path().join("other"));
        assert!(matches!(error, Error::Unfinished { .. }), "{error:?}");
        full.make_room();
        let options = CopyOptions { io: IoMode::Direct, ..CopyOptions::default() };
        copied(&full.source, &target, &options);
        assert_complete(&full.source, &target, full.mount.fs());
    }
}
