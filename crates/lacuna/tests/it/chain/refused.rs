//! What a fold and a prune refuse, and that they then touch nothing.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use lacuna::fold::FoldOptions;
use lacuna::{BLOCK, Error, LayoutOrigin};
use lacuna_testing::mount::{Fs, LoopDevice, Mount};
use lacuna_testing::pattern::{Block, Pattern};

use super::{
    Two, assert_all, fold_refused, folded, freeing, has_checksum, mark_of, prune_refused,
    put_checksum, refused, try_fold,
};
use crate::{mount_with, open_for_reading, open_for_writing};

fn child() -> Pattern {
    let blocks = vec![Block::Data(1), Block::Hole, Block::Zero, Block::DataLastByte];
    Pattern { blocks, size: 4 * BLOCK - 10 }
}

fn parent() -> Pattern {
    Pattern::whole(vec![Block::Data(5), Block::Data(6), Block::Data(7)])
}

fn two() -> Option<(Mount, Two)> {
    let mount = Mount::new(Fs::Ext4)?;
    let two = Two::on(&mount, &child(), &parent());
    put_checksum(&two.child);
    put_checksum(&two.parent);
    Some((mount, two))
}

#[test]
fn a_layer_is_not_folded_into_itself_under_any_name() {
    let Some((mount, two)) = two() else { return };
    let (hard, soft) = (mount.path().join("hard"), mount.path().join("soft"));
    std::fs::hard_link(&two.child, &hard).unwrap();
    symlink(&two.child, &soft).unwrap();
    for other in [&two.child, &hard, &soft] {
        for (child, parent) in [(&two.child, other), (other, &two.child)] {
            assert_all!(
                refused(child, parent),
                Error::SameFile { source_path, target } if source_path == child && target == parent
            );
        }
    }
}

#[test]
fn what_is_missing_or_no_image_is_refused_by_its_name() {
    let Some((mount, two)) = two() else { return };
    let nowhere = mount.path().join("nowhere");
    for (child, parent) in [(&nowhere, &two.parent), (&two.child, &nowhere)] {
        assert_all!(
            refused(child, parent),
            Error::Io { path, source, .. }
                if *path == nowhere && source.kind() == ErrorKind::NotFound
        );
    }
    for other in [mount.path(), Path::new("/dev/null")] {
        for (child, parent) in [(other, &*two.parent), (&*two.child, other)] {
            assert_all!(refused(child, parent), Error::NotAnImage { path, .. } if path == other);
        }
    }
}

#[test]
fn a_device_is_no_layer_but_can_be_folded_into_when_it_is_large_enough() {
    let Some((_mount, two)) = two() else { return };
    let (Some(device), Some(small)) = (LoopDevice::new(1 << 20), LoopDevice::new(2 * BLOCK)) else {
        return;
    };
    let errors = fold_refused(device.path(), &two.parent);
    assert_all!(
        errors.into_iter().chain(prune_refused(device.path(), &two.parent)),
        Error::NoLayout { path, origin: LayoutOrigin::Device } if path == device.path()
    );
    assert_all!(
        prune_refused(&two.child, device.path()),
        Error::NoLayout { path, origin: LayoutOrigin::Device } if path == device.path()
    );
    assert_all!(
        fold_refused(&two.child, small.path()),
        Error::TooSmall { path, size, needed }
            if path == small.path() && *size == 2 * BLOCK && *needed == 4 * BLOCK - 10
    );
    assert!(std::fs::read(small.path()).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn a_parent_that_may_not_be_written_is_refused() {
    let Some((_mount, two)) = two() else { return };
    let chattr = |flag| Command::new("chattr").arg(flag).arg(&two.parent).status();
    if !chattr("+i").is_ok_and(|status| status.success()) {
        lacuna_testing::skip("a read-only parent", "chattr");
        return;
    }
    let errors = std::panic::catch_unwind(|| refused(&two.child, &two.parent));
    chattr("-i").unwrap();
    assert_all!(
        errors.unwrap(),
        Error::Io { operation: "open", path, source, .. }
            if *path == two.parent && source.kind() == ErrorKind::PermissionDenied
    );
    assert!(has_checksum(&two.parent));
}

#[test]
fn a_layer_that_somebody_may_write_to_is_refused() {
    let Some((_mount, two)) = two() else { return };
    for open in [&two.child, &two.parent] {
        let writer = File::options().write(true).open(open).unwrap();
        assert_all!(
            refused(&two.child, &two.parent),
            Error::OpenForWriting { path } if path == open
        );
        drop(writer);
        let user = open_for_writing(open);
        user.lock().unwrap();
        assert_all!(refused(&two.child, &two.parent), Error::OpenForWriting { .. });
    }
    assert!(has_checksum(&two.child) && has_checksum(&two.parent));
}

#[test]
fn a_layer_that_is_being_read_is_not_written() {
    let Some((_mount, two)) = two() else { return };
    let reader = open_for_reading(&two.parent);
    reader.lock().unwrap();
    assert_all!(refused(&two.child, &two.parent), Error::Busy { path } if *path == two.parent);
    drop(reader);
    let reader = open_for_reading(&two.child);
    reader.lock().unwrap();
    let error = try_fold(&two.child, &two.parent, &freeing()).unwrap_err().cause;
    assert!(matches!(&error, Error::Busy { path } if *path == two.child), "{error:?}");
    folded(&two.child, &two.parent, &FoldOptions::default());
}

/// The lease that asks for writers is broken by one who comes at that moment; the signal that tells
/// of it must not end the program.
#[test]
fn a_writer_who_comes_while_it_is_asked_for_writers_does_no_harm() {
    let Some((_mount, two)) = two() else { return };
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                drop(File::options().write(true).open(&two.child).unwrap());
            }
        });
        for _ in 0..300 {
            let planned = lacuna::fold::plan(&two.child, &two.parent, &FoldOptions::default());
            if let Err(error) = planned {
                assert!(matches!(error, Error::OpenForWriting { .. }), "{error:?}");
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_layer_that_something_else_left_unfinished_is_refused() {
    let Some((_mount, two)) = two() else { return };
    for image in [&two.child, &two.parent] {
        let mark = mark_of(image);
        for text in
            ["", "A lacuna session\n", "one\ntwo\n{}\n", "one\ntwo\n{\"version\":9,\"fold\":1}\n"]
        {
            std::fs::write(&mark, text).unwrap();
            assert_all!(
                refused(&two.child, &two.parent),
                Error::Unfinished { path, mark: found } if path == image && *found == mark
            );
            assert_eq!(std::fs::read_to_string(&mark).unwrap(), text);
        }
        std::fs::remove_file(&mark).unwrap();
    }
    assert!(has_checksum(&two.child) && has_checksum(&two.parent));
    folded(&two.child, &two.parent, &FoldOptions::default());
    assert!(!has_checksum(&two.parent));
}

#[test]
fn a_filesystem_that_does_not_show_what_is_allocated_is_refused() {
    let Some((_mount, two)) = two() else { return };
    let Some(tmpfs) = Mount::new(Fs::Tmpfs) else { return };
    let other = tmpfs.path().join("other.img");
    Pattern::whole(vec![Block::Data(4); 3]).write(&other);
    for (child, parent) in [(&other, &two.parent), (&two.child, &other)] {
        assert_all!(
            refused(child, parent),
            Error::NoLayout { path, origin: LayoutOrigin::SeekHole } if *path == other
        );
    }
}

#[test]
fn a_filesystem_of_larger_blocks_is_refused_with_their_size() {
    let Some((_mount, two)) = two() else { return };
    let Some(xfs) = mount_with(Fs::Xfs, &["-b", "size=16384"]) else { return };
    let other = xfs.path().join("other.img");
    Pattern::whole(vec![Block::Data(4); 4]).write(&other);
    for (child, parent) in [(&other, &two.parent), (&two.child, &other)] {
        assert_all!(
            refused(child, parent),
            Error::LargeBlocks { path, unit: 16384 } if *path == other
        );
    }
}

#[test]
fn a_parent_that_is_larger_is_refused_with_both_sizes() {
    let Some((_mount, two)) = two() else { return };
    let (child, parent) = (&two.parent, &two.child);
    assert_all!(
        refused(child, parent),
        Error::LargerParent { parent: p, parent_size, child: c, child_size }
            if p == parent && c == child && *parent_size == 4 * BLOCK - 10 && *child_size == 3 * BLOCK
    );
}
