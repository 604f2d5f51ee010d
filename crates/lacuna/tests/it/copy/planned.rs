//! What a copy would do, told beforehand.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use lacuna::copy::CopyOptions;
use lacuna::{
    BLOCK, Cancel, Error, Extent, IoMode, Kind, LayoutOptions, PlannedTarget, Progress, Range,
    Target, TargetOptions,
};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};

use super::{compared, copied, names, stopped};
use crate::paths::{compare, plan};
use crate::range;

fn options() -> CopyOptions {
    CopyOptions::default()
}

/// Data of which a tenth is other in the second image.
fn two(directory: &Path) -> (PathBuf, PathBuf) {
    let (source, target) = (directory.join("a.img"), directory.join("b.img"));
    let blocks = |other: u8| {
        (0..1000).map(move |n| Block::Data(if n % 10 == 0 { other } else { 3 })).collect()
    };
    Pattern::whole(blocks(1)).write(&source);
    Pattern::whole(blocks(2)).write(&target);
    (source, target)
}

#[test]
fn a_plan_tells_the_most_and_comparing_tells_how_much() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = two(directory.path());
    let planned = plan(&source, &target, &options()).unwrap();
    assert_eq!((planned.written_bytes_max, planned.written_bytes), (1000 * BLOCK, None));
    let compared = compared(&source, &target, &options()).unwrap();
    let found = (compared.written_bytes_max, compared.written_bytes);
    assert_eq!(found, (100 * BLOCK, Some(100 * BLOCK)));
    assert_eq!(copied(&source, &target, &options()).written_bytes, 100 * BLOCK);
}

#[test]
fn the_part_of_an_interrupted_copy_is_compared() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = two(directory.path());
    std::fs::rename(&target, directory.path().join(".b.img.lacuna-data")).unwrap();
    let planned = compared(&source, &target, &options()).unwrap();
    assert_eq!(planned.written_bytes, Some(100 * BLOCK));
    assert_eq!((planned.target_exists, planned.needed_bytes), (Some(false), 0));
    assert_eq!(names(directory.path()), [".b.img.lacuna-data", "a.img"]);
    assert_eq!(copied(&source, &target, &options()).written_bytes, 100 * BLOCK);
}

#[test]
fn an_unfinished_target_is_planned_like_any_other() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (source, target) = two(mount.path());
    let mark = mount.path().join(".b.img.lacuna-unfinished");
    std::fs::write(&mark, "").unwrap();
    assert_eq!(compared(&source, &target, &options()).unwrap().written_bytes, Some(100 * BLOCK));
    assert!(plan(&source, &target, &options()).is_ok() && mark.exists());
}

#[test]
fn a_target_that_is_being_written_is_planned_and_not_compared() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = two(directory.path());
    let open = Target::open(&target, &TargetOptions::default()).unwrap();
    assert!(plan(&source, &target, &options()).is_ok());
    let busy = compared(&source, &target, &options()).unwrap_err();
    assert!(matches!(&busy, Error::Busy { path } if path.ends_with("b.img")), "{busy}");
    drop(open);
    assert!(compared(&source, &target, &options()).is_ok());
}

#[test]
fn a_planned_target_that_changes_while_it_is_watched_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let (_, path) = two(directory.path());
    let mut target = PlannedTarget::open(&path, &TargetOptions::default()).unwrap();
    target.watch().unwrap();
    target.check().unwrap();
    File::options().write(true).open(&path).unwrap().write_all_at(b"other", 0).unwrap();
    assert!(matches!(target.check(), Err(Error::Changed { .. })));
}

#[test]
fn a_planned_target_reads_as_zeros_and_holes_where_it_ends() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let path = mount.path().join("b.img");
    Pattern { blocks: vec![Block::Data(1); 2], size: BLOCK + 10 }.write(&path);
    let direct = TargetOptions { io: IoMode::Direct, ..TargetOptions::default() };
    let target = PlannedTarget::open(&path, &direct).unwrap();
    let mut bytes = vec![9; 2 * BLOCK as usize];
    target.read_at(&mut bytes, BLOCK).unwrap();
    assert!(bytes[..10].iter().any(|byte| *byte != 0));
    assert!(bytes[10..].iter().all(|byte| *byte == 0));
    let options = LayoutOptions { range: Some(Range::to(4 * BLOCK)), flush: true };
    let extents: Vec<_> = target.layout(options).unwrap().map(Result::unwrap).collect();
    let extent = |start, end, kind| Extent { range: range(start * BLOCK, end * BLOCK), kind };
    assert_eq!(extents, [extent(0, 2, Kind::Data), extent(2, 4, Kind::Hole)]);
    let none = PlannedTarget::open(&mount.path().join("none"), &TargetOptions::default()).unwrap();
    none.read_at(&mut bytes, 0).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0) && none.image().is_none());
}

#[test]
fn one_file_twice_is_refused_and_comparing_can_be_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let (source, _) = two(directory.path());
    for planned in [plan(&source, &source, &options()), compared(&source, &source, &options())] {
        assert!(matches!(planned, Err(Error::SameFile { .. })), "{planned:?}");
    }
    assert!(matches!(stopped(&source, &source).cause, Error::SameFile { .. }));
    let cancel = Cancel::default();
    cancel.cancel();
    let (_, target) = two(directory.path());
    let cancelled = compare(&source, &target, &options(), &Progress::default(), &cancel);
    assert!(matches!(cancelled, Err(Error::Cancelled)), "{cancelled:?}");
}
