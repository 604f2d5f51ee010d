//! A target that cannot get its size, of which nothing was written.

use std::path::Path;

use lacuna::{Error, IoMode, Kept, Target, TargetOptions};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{BLOCK, Block, Pattern};

use crate::points::Points;

/// More than any filesystem holds.
const TOO_MUCH: u64 = 1 << 60;

fn refused(path: &Path) -> Target {
    let options = TargetOptions { io: IoMode::Buffered, ..TargetOptions::default() };
    let mut target = Target::open(path, &options).unwrap();
    assert!(matches!(target.resize(TOO_MUCH), Err(Error::Io { .. })));
    target
}

#[test]
fn a_mark_that_may_not_last_is_made_again_before_a_write() {
    let points = Points::take();
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let path = mount.path().join("image");
    Pattern::whole(vec![Block::Data(1); 8]).write(&path);
    let passed = points.passed_by(|| drop(refused(&path)));
    assert_eq!(passed.last(), Some(&"beside.sync-directory"), "{passed:?}");
    points.fail_at(&passed, passed.len() - 1, 5);
    let target = refused(&path);
    points.clear();
    assert!(!target.is_written() && !target.is_marked());
    target.write_at(&[2; BLOCK as usize], 0).unwrap();
    assert!(target.is_marked());
}

#[test]
fn a_part_that_cannot_get_its_size_is_still_there() {
    let _points = Points::take();
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let part = mount.path().join(".image.lacuna-data");
    Pattern::whole(vec![Block::Data(1); 8]).write(&part);
    let target = refused(&mount.path().join("image"));
    target.abandon();
    let left = target.left();
    assert!(matches!(&left, Kept::Part { path, .. } if *path == part), "{left:?}");
}
