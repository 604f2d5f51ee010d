//! What is at one place on the disk is equal without being read, and nothing else is.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lacuna::fiemap::{MapFlags, Walk};
use lacuna::{BLOCK, Kind, Range};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern, strategy};
use lacuna_testing::skip;
use proptest::prelude::*;
use proptest::sample::Index;
use rustix::fs::{copy_file_range, ioctl_ficlone};

use super::How;
use super::expected::Shows;
use super::{check, compared, compressing, two, ways};
use crate::{for_all, range};

fn clone(from: &Path, to: &Path) {
    ioctl_ficlone(File::create(to).unwrap(), File::open(from).unwrap()).unwrap();
}

/// Writes into a file that exists, and leaves it to the kernel when that reaches the disk.
fn write(path: &Path, bytes: &[u8], offset: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

/// Filesystems whose files can share space.
fn sharing() -> impl Iterator<Item = Mount> {
    [Mount::new(Fs::Xfs), Mount::new(Fs::Btrfs), compressing()].into_iter().flatten()
}

fn where_it_is(path: &Path) -> u64 {
    let file = File::open(path).unwrap();
    let mut walk = Walk::new(&file, range(0, BLOCK), MapFlags::SYNC).unwrap();
    walk.next().unwrap().unwrap().physical
}

#[test]
fn what_is_shared_is_equal_unread_and_a_later_change_is_found() {
    for mount in [Fs::Xfs, Fs::Btrfs].into_iter().filter_map(Mount::new) {
        let (left, right) = two(&mount, &mount);
        let size = 8 << 20;
        Pattern::whole(vec![Block::Data(3); 2048]).write(&left);
        clone(&left, &right);
        let (differences, stats) = compared(&left, &right);
        assert!(differences.is_empty(), "{differences:?}");
        assert_eq!((stats.read_bytes, stats.shared_bytes), (0, size), "{}", mount.fs());

        // Not yet on the disk when the comparison begins.
        for (path, offset) in [(&right, 5 << 20), (&left, (1 << 20) + 4095)] {
            write(path, b"changed", offset);
        }
        let (differences, stats) = compared(&left, &right);
        let changed: Vec<_> = differences.iter().map(|difference| difference.range).collect();
        let expected = [range(1 << 20, (1 << 20) + 8192), range(5 << 20, (5 << 20) + 4096)];
        assert_eq!(changed, expected, "{}", mount.fs());
        assert!(differences.iter().all(|difference| difference.content));
        assert_eq!(stats.read_bytes, 2 * (size - stats.shared_bytes));
        assert!(stats.shared_bytes >= size - (1 << 20), "{}: {stats:?}", mount.fs());
    }
}

#[test]
fn changes_of_clones_are_those_that_reading_shows() {
    let edits = prop::collection::vec((any::<Index>(), 1..9000_usize, any::<bool>()), 0..8);
    for mount in sharing() {
        let (left, right) = two(&mount, &mount);
        let shows = (Shows::of(mount.fs()), Shows::of(mount.fs()));
        for_all(12, (strategy(900), edits.clone(), ways()), |(pattern, edits, options)| {
            pattern.write(&left);
            clone(&left, &right);
            for (at, len, which) in edits.iter().filter(|_| pattern.size > 0) {
                let path = if *which { &left } else { &right };
                let offset = at.index(pattern.size as usize) as u64;
                let len = (pattern.size - offset).min(*len as u64) as usize;
                write(path, &vec![0x5a; len], offset);
            }
            check(&left, &right, shows, &options);
        });
    }
}

/// Both show the place of the whole extent that they have a half of.
#[test]
fn two_halves_of_one_compressed_extent_differ() {
    let Some(mount) = compressing() else { return };
    let (left, right) = two(&mount, &mount);
    let whole = mount.path().join("whole");
    let half = 64 << 10;
    let bytes: Vec<u8> = [[1; 1 << 16], [2; 1 << 16]].concat();
    std::fs::write(&whole, bytes).unwrap();
    let whole = File::open(whole).unwrap();
    whole.sync_all().unwrap();
    for (path, start) in [(&left, 0), (&right, half)] {
        let to = File::create(path).unwrap();
        let copied =
            copy_file_range(&whole, Some(&mut start.clone()), &to, Some(&mut 0), half as usize);
        assert_eq!(copied.unwrap(), half as usize);
    }
    assert_eq!(where_it_is(&left), where_it_is(&right), "this is what the test is about");
    let (differences, stats) = compared(&left, &right);
    assert_eq!((differences.len(), stats.content_bytes), (1, half));
    assert_eq!((stats.read_bytes, stats.shared_bytes), (2 * half, 0));
}

#[test]
fn a_file_is_the_same_as_itself_unread_under_any_name() {
    for mount in [Fs::Ext4, Fs::Xfs, Fs::Btrfs, Fs::Tmpfs].into_iter().filter_map(Mount::new) {
        let (left, right) = two(&mount, &mount);
        let blocks = [[Block::Data(1); 40], [Block::Zero; 40], [Block::Hole; 40]].concat();
        Pattern { size: 120 * BLOCK - 5, blocks }.write(&left);
        std::fs::hard_link(&left, &right).unwrap();
        for other in [&left, &right] {
            let (differences, stats) = compared(&left, other);
            assert!(differences.is_empty(), "{}: {differences:?}", mount.fs());
            let unread =
                if mount.fs().has_zero() { (0, 40 * BLOCK) } else { (stats.read_bytes, 0) };
            assert_eq!((stats.read_bytes, stats.shared_bytes), unread, "{}", mount.fs());
        }
    }
}

/// A mounted overlay that shows its files as those of one filesystem, unmounted when dropped.
struct Overlay(PathBuf);

impl Overlay {
    /// Of the directories `shown` on two disks.
    fn new(lower: &Path, upper: &Path) -> Option<Self> {
        let [merged, work] = ["merged", "work"].map(|name| upper.join(name));
        for directory in [&merged, &work] {
            std::fs::create_dir(directory).unwrap();
        }
        let shown = [lower, upper].map(|disk| disk.join("shown"));
        let (lower, upper, work) = (shown[0].display(), shown[1].display(), work.display());
        let options = format!("xino=on,lowerdir={lower},upperdir={upper},workdir={work}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "overlay", "-o", &options]).arg(&merged);
        match mount.status().is_ok_and(|status| status.success()) {
            true => Some(Self(merged)),
            false => {
                skip("an overlay", "support in the kernel");
                None
            }
        }
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn one_place_on_two_disks_under_one_overlay_is_not_one_place() {
    let (Some(lower), Some(upper)) = (Mount::new(Fs::Ext4), Mount::new(Fs::Ext4)) else { return };
    // The first file of a new filesystem begins at the same place on both.
    for (disk, name, seed) in [(&lower, "left", 1), (&upper, "right", 2)] {
        let shown = disk.path().join("shown");
        std::fs::create_dir(&shown).unwrap();
        Pattern::whole(vec![Block::Data(seed); 64]).write(&shown.join(name));
    }
    let Some(overlay) = Overlay::new(lower.path(), upper.path()) else { return };
    let (left, right) = (overlay.0.join("left"), overlay.0.join("right"));
    assert_eq!(where_it_is(&left), where_it_is(&right), "this is what the test is about");
    let device = |path| rustix::fs::stat(path).unwrap().st_dev;
    assert_eq!(device(&left), device(&right), "this too");
    let (differences, stats) = compared(&left, &right);
    assert_eq!((differences.len(), stats.content_bytes), (1, 64 * BLOCK));
    assert_eq!(stats.shared_bytes, 0);
}

/// Two clones of unwritten ranges are allocated apart, or are holes: the kinds are what counts.
#[test]
fn what_is_unwritten_in_one_and_a_hole_in_the_other_differs_in_kind() {
    for mount in [Fs::Ext4, Fs::Xfs, Fs::Btrfs].into_iter().filter_map(Mount::new) {
        let (left, right) = two(&mount, &mount);
        Pattern::whole(vec![Block::Zero; 100]).write(&left);
        Pattern::whole(vec![Block::Hole; 100]).write(&right);
        let (differences, stats) = super::found(&left, &right, &How::default());
        let [only] = differences[..] else { panic!("{differences:?}") };
        assert_eq!((only.left, only.right), (Some(Kind::Zero), Some(Kind::Hole)));
        assert_eq!(only.range, Range::to(100 * BLOCK));
        assert!(!only.content);
        assert_eq!((stats.kind_bytes, stats.read_bytes), (100 * BLOCK, 0));
    }
}
