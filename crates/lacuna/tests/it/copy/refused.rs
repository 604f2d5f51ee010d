//! What a copy refuses, and that it then touches nothing.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use lacuna::copy::CopyOptions;
use lacuna::{Access, Error};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};

use super::{copied, has_checksum, names, put_checksum, refused};
use crate::content::Content;
use crate::{mark_of, open_for_reading, open_for_writing};

fn pattern() -> Pattern {
    Pattern {
        blocks: vec![Block::Data(1), Block::Zero, Block::Hole, Block::DataLastByte],
        size: 4 * 4096 - 10,
    }
}

/// A mount with a source that has a `.checksum`.
fn source() -> Option<(Mount, PathBuf)> {
    let mount = Mount::new(Fs::Ext4)?;
    let source = mount.path().join("source");
    pattern().write(&source);
    put_checksum(&source);
    Some((mount, source))
}

#[test]
fn a_file_is_not_copied_to_itself_under_any_name() {
    let Some((mount, source)) = source() else { return };
    let (hard, soft) = (mount.path().join("hard"), mount.path().join("soft"));
    std::fs::hard_link(&source, &hard).unwrap();
    symlink(&source, &soft).unwrap();
    put_checksum(&hard);
    let before = (Content::of(&source), std::fs::metadata(&source).unwrap().modified().unwrap());
    for (from, to) in
        [(&source, &source), (&source, &hard), (&hard, &source), (&source, &soft), (&soft, &source)]
    {
        let error = refused(from, to);
        assert!(matches!(error, Error::SameFile { .. }), "{error:?}");
        let after = std::fs::metadata(&source).unwrap().modified().unwrap();
        Content::of(&source).assert_is(&before.0, "untouched");
        assert_eq!(after, before.1);
        assert!(has_checksum(&source) && has_checksum(&hard));
        assert!(!names(mount.path()).iter().any(|name| name.starts_with('.')));
    }
}

#[test]
fn an_unfinished_image_is_no_source_and_a_copy_to_it_completes_it() {
    let Some((mount, source)) = source() else { return };
    let (target, other) = (mount.path().join("target"), mount.path().join("other"));
    Pattern::whole(vec![Block::Data(5); 7]).write(&target);
    std::fs::write(mark_of(&target), "").unwrap();
    let error = refused(&target, &other);
    assert!(
        matches!(&error, Error::Unfinished { mark, .. } if *mark == mark_of(&target)),
        "{error:?}"
    );
    assert!(error.remedy().unwrap().contains("repeat what was interrupted"));
    assert!(!other.exists());

    copied(&source, &target, &CopyOptions::default());
    assert!(!mark_of(&target).exists());
    Content::of(&target).assert_is(&Content::of(&source), "completed");
    copied(&target, &other, &CopyOptions::default());
}

#[test]
fn the_mark_is_found_through_a_link() {
    let Some((mount, source)) = source() else { return };
    let directory = mount.path().join("links");
    std::fs::create_dir(&directory).unwrap();
    let link = directory.join("link");
    symlink(&source, &link).unwrap();
    std::fs::write(mark_of(&source), "").unwrap();
    let error = refused(&link, &mount.path().join("target"));
    assert!(matches!(error, Error::Unfinished { .. }), "{error:?}");
}

#[test]
fn a_target_behind_a_link_is_updated_where_it_stands() {
    let Some((mount, source)) = source() else { return };
    let (target, link) = (mount.path().join("target"), mount.path().join("link"));
    Pattern::whole(vec![Block::Data(5); 7]).write(&target);
    put_checksum(&target);
    symlink(&target, &link).unwrap();
    copied(&source, &link, &CopyOptions::default());
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    Content::of(&target).assert_is(&Content::of(&source), "the file behind the link");
    assert!(!has_checksum(&target));
    assert_eq!(names(mount.path()), ["link", "lost+found", "source", "source.checksum", "target"]);
}

#[test]
fn a_link_that_leads_nowhere_is_no_target() {
    let Some((mount, source)) = source() else { return };
    let link = mount.path().join("link");
    symlink(mount.path().join("nowhere"), &link).unwrap();
    let error = refused(&source, &link);
    assert!(matches!(error, Error::DanglingLink { .. }), "{error:?}");
    assert_eq!(names(mount.path()), ["link", "lost+found", "source", "source.checksum"]);
}

#[test]
fn an_image_in_use_is_neither_source_nor_target() {
    let Some((mount, source)) = source() else { return };
    let target = mount.path().join("target");
    Pattern::whole(vec![Block::Data(5); 7]).write(&target);
    let before = Content::of(&target);
    for (used, access) in
        [(&source, Access::Write), (&target, Access::Write), (&target, Access::Read)]
    {
        let user = match access {
            Access::Read => open_for_reading(used),
            Access::Write | Access::Alone => open_for_writing(used),
        };
        user.lock().unwrap();
        let error = refused(&source, &target);
        assert!(matches!(&error, Error::Busy { path } if path == used), "{error:?}");
        Content::of(&target).assert_is(&before, "untouched");
    }
    let reader = open_for_reading(&source);
    reader.lock().unwrap();
    copied(&source, &target, &CopyOptions::default());
}

#[test]
fn a_new_target_that_another_copy_is_writing_is_in_use() {
    let Some((mount, source)) = source() else { return };
    let target = mount.path().join("target");
    let data = mount.path().join(".target.lacuna-data");
    std::fs::write(&data, "of the other copy").unwrap();
    let other = open_for_writing(&data);
    other.lock().unwrap();
    let error = refused(&source, &target);
    assert!(matches!(error, Error::Busy { .. }), "{error:?}");
    assert_eq!(std::fs::read(&data).unwrap(), b"of the other copy");
    drop(other);
    copied(&source, &target, &CopyOptions::default());
    Content::of(&target).assert_is(&Content::of(&source), "taken over");
    assert!(!data.exists());
}

#[track_caller]
fn assert_not_found(source: &Path, target: &Path) {
    let kind = refused(source, target).io_kind();
    assert_eq!(kind, Some(std::io::ErrorKind::NotFound));
}

#[test]
fn what_is_missing_or_no_image_is_neither_source_nor_target() {
    let Some((mount, source)) = source() else { return };
    let nowhere = mount.path().join("nowhere");
    assert_not_found(&nowhere, &mount.path().join("target"));
    assert_not_found(&source, &nowhere.join("target"));
    for other in [mount.path(), Path::new("/dev/null"), Path::new("/")] {
        let error = refused(&source, other);
        assert!(matches!(error, Error::NotAnImage { .. }), "{error:?}");
        let error = refused(other, &nowhere);
        assert!(matches!(error, Error::NotAnImage { .. }), "{error:?}");
    }
    assert_eq!(names(mount.path()), ["lost+found", "source", "source.checksum"]);
}

#[test]
fn a_name_that_leaves_no_room_for_the_hidden_ones_is_refused() {
    let Some((mount, source)) = source() else { return };
    let error = refused(&source, &mount.path().join("n".repeat(223)));
    let io_error = std::error::Error::source(&error).unwrap();
    assert!(io_error.to_string().contains("File name too long"), "{error:?}");
    let longest = mount.path().join("n".repeat(222));
    copied(&source, &longest, &CopyOptions::default());
    Pattern::whole(vec![Block::Data(9); 2]).write(&source);
    copied(&source, &longest, &CopyOptions::default());
}

/// Somebody else's file under the name of a hidden one, by whatever kind of link.
#[test]
fn a_hidden_file_that_is_also_another_is_not_written() {
    let Some((mount, source)) = source() else { return };
    let (target, data) = (mount.path().join("target"), mount.path().join(".target.lacuna-data"));
    let victim = mount.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    let links: [fn(&Path, &Path) -> std::io::Result<()>; 2] =
        [|victim, data| symlink(victim, data), |victim, data| std::fs::hard_link(victim, data)];
    for link in links {
        link(&victim, &data).unwrap();
        let error = refused(&source, &target);
        assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
        assert!(!target.exists());
        std::fs::remove_file(&data).unwrap();
    }
}

#[test]
fn a_source_that_has_the_name_of_the_target_s_checksum_is_not_removed() {
    let Some((mount, source)) = source() else { return };
    let (target, misnamed) = (mount.path().join("d"), mount.path().join("d.checksum"));
    std::fs::rename(&source, &misnamed).unwrap();
    let error = refused(&misnamed, &target);
    assert!(matches!(error, Error::SameFile { .. }), "{error:?}");
    assert!(misnamed.exists() && !target.exists());
}

#[test]
fn what_is_too_large_for_a_checksum_is_not_removed_as_one() {
    let Some((mount, source)) = source() else { return };
    let target = mount.path().join("target");
    let image = mount.path().join("target.checksum");
    std::fs::write(&image, vec![1; 1 << 20]).unwrap();
    let error = refused(&source, &target);
    assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
    assert_eq!(std::fs::read(&image).unwrap().len(), 1 << 20);
}

#[test]
fn a_device_that_is_not_there_is_not_made_up_as_a_file() {
    let Some((_mount, source)) = source() else { return };
    let target = Path::new("/dev/lacuna-no-such-device");
    let error = refused(&source, target);
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::NotFound), "{error:?}");
    assert!(!target.exists());
}

#[test]
fn a_name_that_ends_in_a_slash_is_no_name_for_an_image() {
    let Some((mount, source)) = source() else { return };
    for name in ["new/", "new//"] {
        let target = mount.path().join(name);
        let error = refused(&source, &target);
        assert!(matches!(error, Error::NotAnImage { .. }), "{error:?}");
        assert!(error.remedy().unwrap().contains("inside it"));
        assert!(matches!(lacuna::Target::check(&target), Err(Error::NotAnImage { .. })));
    }
    assert!(!names(mount.path()).iter().any(|name| name.starts_with('.')));
}

/// No mark fits beside it, so nobody can have made one.
#[test]
fn a_source_may_have_the_longest_of_names() {
    let Some((mount, source)) = source() else { return };
    let long = mount.path().join("a".repeat(255));
    std::fs::rename(&source, &long).unwrap();
    copied(&long, &mount.path().join("target"), &CopyOptions::default());
}

#[test]
fn the_mark_of_an_image_that_is_gone_does_not_stay_beside_a_new_one() {
    let Some((mount, source)) = source() else { return };
    let (target, other) = (mount.path().join("target"), mount.path().join("other"));
    std::fs::write(mark_of(&target), "").unwrap();
    copied(&source, &target, &CopyOptions::default());
    assert!(!mark_of(&target).exists());
    copied(&target, &other, &CopyOptions::default());
}

/// Somebody else made an image of that name meanwhile, and another session is writing to it.
#[test]
fn a_commit_that_is_refused_leaves_the_mark_of_another_session() {
    let Some((mount, _)) = source() else { return };
    let target = mount.path().join("target");
    let new = lacuna::Target::open(&target, &lacuna::TargetOptions::default()).unwrap();
    Pattern::whole(vec![Block::Data(5); 4]).write(&target);
    let other = lacuna::Target::open(&target, &lacuna::TargetOptions::default()).unwrap();
    other.write_at(&[1; 4096], 0).unwrap();
    let error = new.commit().unwrap_err();
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::AlreadyExists));
    assert!(mark_of(&target).exists());
}

/// The checksum cannot go, so the image is not touched, nor marked.
#[test]
fn a_target_that_could_not_be_prepared_is_not_marked() {
    let Some((mount, source)) = source() else { return };
    let target = mount.path().join("target");
    Pattern::whole(vec![Block::Data(5); 4]).write(&target);
    std::fs::create_dir(lacuna::checksum_file::path_of(&target)).unwrap();
    let stopped = super::stopped(&source, &target);
    assert_eq!(stopped.kept, lacuna::Kept::Nothing);
    assert!(!mark_of(&target).exists());
    assert_eq!(Content::of(&target).bytes, Pattern::whole(vec![Block::Data(5); 4]).bytes());
}

/// The disk fills up; there is no room even for the record of what has arrived.
#[test]
fn a_copy_that_filled_the_disk_goes_on_once_there_is_room() {
    for fs in [Fs::Ext4, Fs::Tmpfs] {
        let Some(from) = Mount::new(Fs::Ext4) else { return };
        let options = lacuna_testing::mount::MountOptions { size_mib: 40, ..Default::default() };
        let Some(mount) = Mount::with(fs, &options) else { continue };
        let (source, target) = (from.path().join("source"), mount.path().join("target"));
        Pattern::whole((0..6144).map(|block| Block::Data(1 + (block % 250) as u8)).collect())
            .write(&source);
        let ballast = mount.path().join("ballast");
        std::fs::write(&ballast, vec![1; 24 << 20]).unwrap();
        let stopped = super::stopped(&source, &target);
        assert_eq!(stopped.cause.io_kind(), Some(std::io::ErrorKind::StorageFull), "{fs}");
        let lacuna::Kept::Part { done_bytes, .. } = stopped.kept else {
            panic!("{fs}: {:?}", stopped.kept)
        };
        assert!(done_bytes > 0, "{fs}: {:?}", stopped.cause);
        std::fs::remove_file(&ballast).unwrap();
        let stats = copied(&source, &target, &CopyOptions::default());
        assert_eq!(stats.resumed_bytes, done_bytes, "{fs}");
        Content::of(&target).assert_is(&Content::of(&source), fs);
    }
}

#[test]
fn another_name_of_an_unfinished_image_is_unfinished_too() {
    let Some((mount, source)) = source() else { return };
    let (link, other) = (mount.path().join("link"), mount.path().join("other"));
    std::fs::hard_link(&source, &link).unwrap();
    std::fs::write(mark_of(&source), "").unwrap();
    assert!(matches!(refused(&link, &other), Error::Unfinished { .. }));
    assert!(!other.exists());
}
