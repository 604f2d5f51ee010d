//! A target is what its source is, between any two filesystems, new or updated in place.

use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use lacuna::copy::CopyOptions;
use lacuna::{BLOCK, IoMode, Reflink};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Pattern, pair_strategy};
use proptest::prelude::*;
use rustix::fs::statvfs;

use super::expected::{On, expect};
use super::{compared, copied, has_checksum, names, put_checksum};
use crate::content::Content;
use crate::paths::plan;
use crate::small::{small_pieces, write_small_pieces};
use crate::{IO_MODES, changed_at, for_all, mount_with};

/// Where a source and a target stand, each in a directory of its own.
struct Place {
    source: PathBuf,
    target: PathBuf,
    fs: Fs,
    /// Whether the two can share space.
    shares: bool,
}

impl Place {
    fn on(from: &Mount, to: &Mount) -> Self {
        let (source, target) = (from.path().join("from"), to.path().join("to"));
        for directory in [&source, &target] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let shares = from.path() == to.path() && matches!(to.fs(), Fs::Xfs | Fs::Btrfs);
        Self { source: source.join("source"), target: target.join("target"), fs: to.fs(), shares }
    }

    fn fs_block(&self) -> u64 {
        statvfs(self.target.parent().unwrap()).unwrap().f_frsize
    }

    /// Whether a change of size may change the kind of a block, which the oracle cannot know: one
    /// that is cut through its allocated part, or one that btrfs writes zeros to.
    fn changes_a_block_at(&self, old: u64, new: u64) -> bool {
        let (end, partly_allocated) = (old.min(new), self.fs_block() < BLOCK);
        old != new && !end.is_multiple_of(BLOCK) && (self.fs == Fs::Btrfs || partly_allocated)
    }

    /// Copies, and compares everything that can be seen of it with what is expected.
    fn check(&self, options: &CopyOptions, mode: u32) {
        let (source, target) = (&self.source, &self.target);
        std::fs::set_permissions(source, Permissions::from_mode(mode)).unwrap();
        let old = target.exists().then(|| Content::of(target));
        let mode = match &old {
            Some(_) => mode_of(target),
            None => mode & !umask(),
        };
        let old_size = old.as_ref().map_or(0, |old| old.bytes.len() as u64);
        let shares = self.shares && options.reflink != Reflink::Never;
        let on = On { old, fs: self.fs, unit: self.fs_block().max(BLOCK), shares };
        let mut expected = expect(Content::of(source), on);
        put_checksum(target);
        let before = (names(target.parent().unwrap()), target.exists().then(|| changed_at(target)));
        let (planned, compared) =
            (plan(source, target, options), compared(source, target, options));
        let (planned, compared) = (planned.unwrap(), compared.unwrap());
        let changed = target.exists().then(|| changed_at(target));
        assert_eq!(before, (names(target.parent().unwrap()), changed), "a plan changed something");

        let stats = copied(source, target, options);

        Content::of(target).assert_is(&expected.content, "the target");
        if self.changes_a_block_at(old_size, stats.size_bytes) {
            expected.stats.compared_bytes = stats.compared_bytes;
            expected.stats.written_bytes = stats.written_bytes;
            expected.stats.read_bytes = stats.kinds.data_bytes - stats.reflinked_bytes;
            expected.stats.reflinked_bytes = stats.reflinked_bytes;
        }
        assert_eq!(stats, expected.stats);
        assert_eq!(stats.kinds.allocated_bytes() + stats.kinds.hole_bytes, stats.size_bytes);
        for planned in [&planned, &compared] {
            assert_eq!(planned.reflink_bytes, stats.reflinked_bytes);
            assert_eq!(planned.kinds, stats.kinds);
            assert!(stats.written_bytes <= planned.written_bytes_max);
        }
        if !self.changes_a_block_at(old_size, stats.size_bytes) {
            let found = (compared.read_bytes, compared.compared_bytes, compared.written_bytes);
            assert_eq!(found, (stats.read_bytes, stats.compared_bytes, Some(stats.written_bytes)));
            assert_eq!(compared.cleared_bytes, planned.cleared_bytes);
        }
        assert_eq!(mode_of(target), mode);
        if expected.changes {
            assert_eq!(names(target.parent().unwrap()), ["target"]);
        } else {
            assert!(has_checksum(target));
            assert_eq!(changed, Some(changed_at(target)), "untouched");
            std::fs::remove_file(lacuna::checksum_file::path_of(target)).unwrap();
        }
        self.repeat(options, &expected.content);
    }

    /// A copy that has nothing to do does nothing.
    fn repeat(&self, options: &CopyOptions, content: &Content) {
        let target = &self.target;
        put_checksum(target);
        let changed = changed_at(target);
        let again = copied(&self.source, target, options);
        assert_eq!(again.written_bytes, 0, "the second time");
        assert_eq!(changed, changed_at(target), "the second time");
        assert_eq!(names(target.parent().unwrap()), ["target", "target.checksum"]);
        Content::of(target).assert_is(content, "the second time");
    }
}

fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    u32::from_str_radix(umask.unwrap().trim(), 8).unwrap()
}

fn mode_of(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

/// How a copy is made, and of what mode the source is.
fn ways() -> impl Strategy<Value = (CopyOptions, u32)> + Clone {
    let io = prop::sample::select(IO_MODES.to_vec());
    let threads = prop::sample::select(vec![1, 2, 4]);
    let mode = prop::sample::select(vec![0o644, 0o600, 0o666, 0o440, 0o755]);
    let reflink = prop::sample::select(vec![Reflink::Auto, Reflink::Never]);
    (io, threads, mode, reflink).prop_map(|(io, threads, mode, reflink)| {
        (CopyOptions { io, threads, reflink, ..CopyOptions::default() }, mode)
    })
}

/// Mostly small images, and some of several jobs.
fn pairs() -> impl Strategy<Value = (Pattern, Pattern)> + Clone {
    prop_oneof![4 => pair_strategy(64), 1 => pair_strategy(600)]
}

/// Copies random images from one mount to another, which may be the same.
fn compare_copies(cases: u32, from: Option<Mount>, to: Option<Mount>) {
    let Some(from) = from else { return };
    let place = Place::on(&from, to.as_ref().unwrap_or(&from));
    for_all(cases, (pairs(), ways(), any::<bool>()), |((source, target), way, exists)| {
        source.write(&place.source);
        let _ = std::fs::remove_file(&place.target);
        if exists {
            target.write(&place.target);
        }
        place.check(&way.0, way.1);
    });
}

#[test]
fn a_copy_within_ext4_is_equal() {
    compare_copies(16, Mount::new(Fs::Ext4), None);
}

#[test]
fn a_copy_within_xfs_is_equal() {
    compare_copies(16, Mount::new(Fs::Xfs), None);
}

#[test]
fn a_copy_within_btrfs_is_equal() {
    compare_copies(16, Mount::new(Fs::Btrfs), None);
}

#[test]
fn a_copy_within_tmpfs_is_equal() {
    compare_copies(16, Mount::new(Fs::Tmpfs), None);
}

#[test]
fn a_copy_from_ext4_to_xfs_is_equal() {
    let Some(to) = Mount::new(Fs::Xfs) else { return };
    compare_copies(12, Mount::new(Fs::Ext4), Some(to));
}

#[test]
fn a_copy_from_btrfs_to_ext4_is_equal() {
    let Some(to) = Mount::new(Fs::Ext4) else { return };
    compare_copies(8, Mount::new(Fs::Btrfs), Some(to));
}

#[test]
fn a_copy_from_tmpfs_to_ext4_is_equal() {
    let Some(to) = Mount::new(Fs::Ext4) else { return };
    compare_copies(12, Mount::new(Fs::Tmpfs), Some(to));
}

#[test]
fn a_copy_from_ext4_to_tmpfs_has_written_zeros_for_unwritten_ones() {
    let Some(to) = Mount::new(Fs::Tmpfs) else { return };
    compare_copies(12, Mount::new(Fs::Ext4), Some(to));
}

#[test]
fn a_copy_is_equal_where_an_extent_size_hint_allocates_more() {
    let Some(to) = mount_with(Fs::Xfs, &["-d", "extszinherit=16"]) else { return };
    compare_copies(16, Mount::new(Fs::Xfs), Some(to));
}

#[test]
fn a_copy_to_larger_blocks_is_equal_in_units_of_those() {
    let Some(to) = mount_with(Fs::Xfs, &["-b", "size=16384"]) else { return };
    // A pattern knows blocks of 4096 bytes only: the target is new, and then updated by a copy.
    let Some(from) = Mount::new(Fs::Ext4) else { return };
    let place = Place::on(&from, &to);
    for_all(10, (pairs(), ways()), |((source, target), (options, mode))| {
        let _ = std::fs::remove_file(&place.target);
        for pattern in [target, source] {
            pattern.write(&place.source);
            place.check(&options, mode);
        }
    });
}

/// Copies images with extents of a kilobyte between one mount and another.
fn compare_small_copies(from: Option<Mount>, to: Option<Mount>) {
    let (Some(from), Some(to)) = (from, to) else { return };
    let place = Place::on(&from, &to);
    for_all(12, (small_pieces(), small_pieces(), ways()), |(source, target, (options, mode))| {
        let _ = std::fs::remove_file(&place.target);
        write_small_pieces(&place.source, &source);
        if target.1 % 4 != 0 {
            write_small_pieces(&place.target, &target);
        }
        place.check(&options, mode);
    });
}

#[test]
fn a_copy_from_smaller_blocks_is_rounded_outward() {
    compare_small_copies(mount_with(Fs::Ext4, &["-b", "1024"]), Mount::new(Fs::Xfs));
}

#[test]
fn a_copy_to_smaller_blocks_is_equal_in_units_of_4096() {
    compare_small_copies(Mount::new(Fs::Ext4), mount_with(Fs::Ext4, &["-b", "1024"]));
}

#[test]
fn a_copy_between_smaller_blocks_is_equal_in_units_of_4096() {
    let mkfs = ["-b", "1024"];
    compare_small_copies(mount_with(Fs::Ext4, &mkfs), mount_with(Fs::Ext4, &mkfs));
}

#[test]
fn the_permission_bits_that_were_asked_for_are_set_whatever_the_umask() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (source, target) = (mount.path().join("source"), mount.path().join("target"));
    std::fs::write(&source, "image").unwrap();
    for mode in [0o666, 0o400, 0o777] {
        let options = CopyOptions { mode: Some(mode), io: IoMode::Auto, ..CopyOptions::default() };
        copied(&source, &target, &options);
        assert_eq!(mode_of(&target), mode);
        std::fs::remove_file(&target).unwrap();
    }
}

#[test]
fn an_image_of_the_largest_size_is_copied_in_no_time_when_it_is_empty() {
    for fs in [Fs::Xfs, Fs::Tmpfs] {
        let Some(mount) = Mount::new(fs) else { continue };
        let (source, target) = (mount.path().join("source"), mount.path().join("target"));
        let size = lacuna::MAX_OFFSET & !(BLOCK - 1);
        let file = File::create(&source).unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(b"at the very end", size - 100).unwrap();
        let stats = copied(&source, &target, &CopyOptions::default());
        assert_eq!((stats.kinds.data_bytes, stats.written_bytes), (BLOCK, BLOCK));
        let mut end = [0; 15];
        File::open(&target).unwrap().read_exact_at(&mut end, size - 100).unwrap();
        assert_eq!(&end, b"at the very end");
    }
}
