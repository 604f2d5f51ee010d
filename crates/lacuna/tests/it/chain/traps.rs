//! Patterns that a simpler fold or prune gets wrong.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use lacuna::fold::FoldOptions;
use lacuna::{BLOCK, Reflink};
use lacuna_testing::mount::{Fs, LoopDevice, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Kind, Pattern, kinds_of};
use rustix::fs::{FallocateFlags, fallocate};

use super::oracle::{self, Layer};
use super::{Two, copying, folded, freeing, pruned, try_fold};
use crate::content::Content;
use crate::{allocated, mount_with};

/// The filesystems that hold layers.
fn mounts() -> impl Iterator<Item = Mount> {
    [Fs::Ext4, Fs::Xfs, Fs::Btrfs].into_iter().filter_map(Mount::new)
}

/// Runs a program that the machine need not have; false when it could not do it.
fn ran(program: &str, arguments: &[&str], path: &Path) -> bool {
    let output = Command::new(program).args(arguments).arg(path).output();
    let done = output.as_ref().is_ok_and(|output| output.status.success());
    if !done {
        lacuna_testing::skip(program, format!("to work: {output:?}"));
    }
    done
}

/// Of a file that has no extents yet, on XFS.
pub(super) fn set_extent_size(path: &Path, bytes: u64) {
    assert!(ran("xfs_io", &["-c", &format!("extsize {bytes}")], path));
}

fn preallocate(path: &Path, offset: u64, length: u64) {
    let file = File::options().write(true).open(path).unwrap();
    fallocate(&file, FallocateFlags::KEEP_SIZE, offset, length).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn a_block_of_zeros_but_for_its_last_byte_is_data() {
    for mount in mounts() {
        let blocks = vec![Block::DataLastByte, Block::Data(0), Block::Hole, Block::DataLastByte];
        let child = Pattern { blocks, size: 3 * BLOCK + 1 };
        let mut two =
            Two::on(&mount, &child, &Pattern::whole(vec![Block::Data(3); 4].split_off(1)));
        two.fold(&FoldOptions::default());
        assert_eq!(std::fs::read(&two.parent).unwrap()[4095], 1);
    }
}

#[test]
fn unwritten_extents_of_the_child_hide_the_data_of_the_parent() {
    for mount in mounts() {
        let child = [vec![Block::Zero; 40], vec![Block::Hole; 3], vec![Block::Zero; 1]].concat();
        let (child, parent) = (Pattern::whole(child), Pattern::whole(vec![Block::Data(1); 44]));
        for options in [FoldOptions::default(), freeing()] {
            let stats = Two::on(&mount, &child, &parent).fold(&options);
            assert_eq!((stats.written_bytes, stats.reflinked_bytes), (0, 0));
        }
        let mut two = Two::on(&mount, &child, &parent);
        let before = allocated(&two.parent);
        let stats = two.prune();
        assert_eq!((stats.hidden_bytes, stats.hidden_ranges), (41 * BLOCK, 2));
        assert_eq!(stats.reclaimed_bytes, before.saturating_sub(allocated(&two.parent)));
    }
}

#[test]
fn pages_of_the_child_that_are_not_on_the_disk_yet_are_its_data() {
    for mount in mounts() {
        let child = Pattern::whole(vec![Block::Hole, Block::Zero, Block::Zero, Block::Hole]);
        let parent = Pattern::whole(vec![Block::Data(9); 4]);
        for prunes in [false, true] {
            let mut two = Two::on(&mount, &child, &parent);
            let blocks = vec![Block::Data(1), Block::Data(2), Block::Zero, Block::Hole];
            two.layers[0] = Layer::of(&Pattern::whole(blocks));
            let file = File::options().write(true).open(&two.child).unwrap();
            file.write_all_at(&two.layers[0].content().bytes[..2 * BLOCK as usize], 0).unwrap();
            drop(file);
            match prunes {
                true => drop(two.prune()),
                false => drop(two.fold(&FoldOptions::default())),
            }
        }
    }
}

#[test]
fn an_extent_across_the_end_of_the_child_counts_to_the_end() {
    for mount in mounts() {
        let child = Pattern { blocks: vec![Block::Hole; 4], size: 4 * BLOCK - 100 };
        let parent = Pattern { blocks: vec![Block::Data(9); 4], size: 4 * BLOCK - 100 };
        for options in [FoldOptions::default(), freeing()] {
            let mut two = Two::on(&mount, &child, &parent);
            preallocate(&two.child, 2 * BLOCK, 10 * BLOCK);
            two.look();
            // btrfs writes zeros to the last one.
            assert_eq!(two.layers[0].content().kinds[1..3], [Kind::Hole, Kind::Zero]);
            assert_ne!(two.layers[0].content().kinds[3], Kind::Hole);
            two.fold(&options);
        }
        let mut two = Two::on(&mount, &child, &parent);
        preallocate(&two.child, 2 * BLOCK, 10 * BLOCK);
        two.look();
        assert_eq!(two.prune().hidden_bytes, 2 * BLOCK - 100);
    }
}

#[test]
fn what_was_preallocated_past_the_end_of_a_parent_that_grows_is_a_hole() {
    for mount in mounts() {
        for (size, kind) in [(2 * BLOCK, Block::Data(4)), (2 * BLOCK - 9, Block::Hole)] {
            let child = Pattern::whole([vec![Block::Hole; 20], vec![Block::Data(1)]].concat());
            let parent = Pattern { blocks: vec![Block::Data(2), kind], size };
            let mut two = Two::on(&mount, &child, &parent);
            preallocate(&two.parent, 2 * BLOCK, 60 * BLOCK);
            two.look();
            let stats = two.fold(&FoldOptions::default());
            assert_eq!(stats.grown_bytes, 21 * BLOCK - size);
            let mut two = Two::on(&mount, &child, &parent);
            preallocate(&two.parent, 2 * BLOCK, 60 * BLOCK);
            two.look();
            two.prune();
        }
    }
}

/// The rest of the last block was neither a hole nor anything else when the fold began.
#[test]
fn a_parent_whose_last_block_is_partial_grows() {
    for mount in mounts() {
        for kind in [Block::Data(5), Block::Zero, Block::Hole, Block::DataLastByte] {
            let child = Pattern::whole(vec![Block::Data(1), Block::Hole, Block::Hole, Block::Zero]);
            let parent = Pattern { blocks: vec![kind; 2], size: 2 * BLOCK - 10 };
            for options in [FoldOptions::default(), freeing()] {
                Two::on(&mount, &child, &parent).fold(&options);
            }
            Two::on(&mount, &child, &parent).prune();
        }
    }
}

#[test]
fn a_run_of_the_child_that_ends_in_a_partial_block_is_shared_up_to_there() {
    for fs in [Fs::Xfs, Fs::Btrfs] {
        let Some(mount) = Mount::new(fs) else { continue };
        let child = Pattern { blocks: vec![Block::Data(1); 40], size: 40 * BLOCK - 7 };
        let parent = Pattern::whole(vec![]);
        for free in [false, true] {
            let options = FoldOptions { free, ..FoldOptions::default() };
            let stats = Two::on(&mount, &child, &parent).fold(&options);
            assert_eq!((stats.written_bytes, stats.reflinked_bytes), (BLOCK - 7, 39 * BLOCK));
        }
    }
}

/// XFS makes holes of unwritten ranges that it clones.
#[test]
fn unwritten_ranges_between_runs_that_are_shared_stay_unwritten() {
    for fs in [Fs::Xfs, Fs::Btrfs] {
        let Some(mount) = Mount::new(fs) else { continue };
        let run = vec![Block::Data(1); 32];
        let blocks = [run.clone(), vec![Block::Zero; 8], run.clone(), vec![Block::Zero; 32], run];
        let child = Pattern::whole(blocks.concat());
        for below in [Block::Hole, Block::Zero, Block::Data(9)] {
            let parent = Pattern::whole(vec![below; child.blocks.len()]);
            let stats = Two::on(&mount, &child, &parent).fold(&FoldOptions::default());
            assert_eq!((stats.written_bytes, stats.reflinked_bytes), (0, 96 * BLOCK));
        }
    }
}

#[test]
fn sharing_at_all_costs_fails_where_nothing_can_be_shared_and_changes_nothing() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let whole = |block| Pattern::whole(vec![block; 40]);
    let two = Two::on(&mount, &whole(Block::Data(1)), &whole(Block::Hole));
    let options = FoldOptions { reflink: Reflink::Always, ..FoldOptions::default() };
    let cause = try_fold(&two.child, &two.parent, &options).unwrap_err().cause;
    assert!(matches!(cause, lacuna::Error::NotReflinked { .. }), "{cause:?}");
    two.check("refused");
}

#[test]
fn a_child_of_a_hundred_thousand_extents_of_one_block() {
    let options = MountOptions { size_mib: 1200, ..MountOptions::default() };
    let Some(mount) = Mount::with(Fs::Xfs, &options) else { return };
    let block = |index: usize| match index % 20 {
        0 => Block::Data(1 + (index % 250) as u8),
        even if even % 2 == 0 => Block::Zero,
        _ => Block::Hole,
    };
    let (child, parent) = (mount.path().join("child.img"), mount.path().join("parent.img"));
    Pattern::whole((0..200_000).map(block).collect()).write(&child);
    Pattern::whole(vec![]).write(&parent);
    let stats = folded(&child, &parent, &FoldOptions::default());
    assert_eq!(stats.kinds.data_bytes, 10_000 * BLOCK);
    assert_eq!(stats.kinds.zero_bytes, 90_000 * BLOCK);
    assert!(kinds_of(&parent) == kinds_of(&child));
    let (mut a, mut b) = (File::open(&child).unwrap(), File::open(&parent).unwrap());
    let (mut wanted, mut found) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for _ in 0..(200_000 * BLOCK) >> 20 {
        a.read_exact(&mut wanted).unwrap();
        b.read_exact(&mut found).unwrap();
        assert!(wanted == found);
    }
}

#[test]
fn a_file_that_shares_its_space_with_the_parent_keeps_what_it_has() {
    for fs in [Fs::Xfs, Fs::Btrfs] {
        let Some(mount) = Mount::new(fs) else { continue };
        let blocks = [vec![Block::Data(1); 3], vec![Block::Zero; 3], vec![Block::Data(2); 30]];
        let child = Pattern::whole(blocks.concat());
        let parent = Pattern::whole(vec![Block::Data(7); 36]);
        for options in [FoldOptions::default(), copying(), freeing()] {
            let mut two = Two::on(&mount, &child, &parent);
            let copy = mount.path().join("copy");
            let _ = std::fs::remove_file(&copy);
            let parent_path = two.parent.to_str().unwrap();
            if !ran("cp", &["--reflink=always", parent_path], &copy) {
                return;
            }
            let before = Content::of(&copy);
            two.fold(&options);
            Content::of(&copy).assert_is(&before, "after a fold");
            if !options.free {
                two.prune();
                Content::of(&copy).assert_is(&before, "after a prune");
            }
        }
    }
}

#[test]
fn a_child_that_was_freed_has_given_up_its_space_and_the_chain_is_whole() {
    for mount in mounts() {
        let blocks = [vec![Block::Data(1); 2000], vec![Block::Hole; 9], vec![Block::Zero; 2000]];
        let child = Pattern::whole(blocks.concat());
        let parent = Pattern::whole([vec![Block::Hole; 2], vec![Block::Data(2); 4007]].concat());
        for reflink in [Reflink::Auto, Reflink::Never] {
            let mut two = Two::on(&mount, &child, &parent);
            let read = oracle::read(&two.layers);
            let stats = two.fold(&FoldOptions { reflink, ..freeing() });
            assert!(stats.reclaimed_bytes >= 4000 * BLOCK, "{stats:?}");
            assert!(oracle::read(&two.layers) == read);
            assert!(Content::of(&two.child).kinds.iter().all(|kind| *kind == Kind::Hole));
        }
    }
}

/// The parent alone has a hint: what its filesystem allocates around small writes hid the base.
#[test]
fn an_extent_size_hint_of_the_parent_does_not_hide_what_lies_below() {
    for mkfs in [["-m", "reflink=1"], ["-m", "reflink=0"]] {
        let Some(mount) = mount_with(Fs::Xfs, &mkfs) else { return };
        let some = (0..900).map(|n| if n % 50 == 7 { Block::Data(1) } else { Block::Hole });
        let child = Pattern::whole(some.collect());
        for options in [FoldOptions::default(), copying(), freeing()] {
            let mut two = Two::on(&mount, &child, &Pattern::whole(vec![]));
            set_extent_size(&two.parent, 1 << 20);
            two.fold(&options);
        }
    }
}

/// There, a round ends in the middle of a run, and in the middle of a unit.
#[test]
fn an_extent_size_hint_that_does_not_divide_a_round_leaves_nothing_out() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    let runs = [(1019, 1), (1, 1), (78, 1), (9, 290)];
    let run = |(data, hole)| [vec![Block::Data(1); data], vec![Block::Hole; hole]].concat();
    let child = Pattern::whole(runs.map(run).concat());
    for below in [Block::Data(2), Block::Hole] {
        for hint in [3, 5, 17].map(|blocks| blocks * BLOCK) {
            for options in [copying(), freeing()] {
                let mut two = Two::on(&mount, &child, &Pattern::whole(vec![]));
                set_extent_size(&two.parent, hint);
                Pattern::whole(vec![below; child.blocks.len()]).write_over(&two.parent);
                two.look();
                two.fold(&options);
            }
        }
    }
}

/// XFS takes room for all of a unit before it writes a block of it.
#[test]
fn a_fold_needs_room_for_a_unit_of_the_parents_extent_size_hint() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    let blocks = [vec![Block::Hole; 50], vec![Block::Data(1)], vec![Block::Hole; 9000]];
    let two = Two::on(&mount, &Pattern::whole(blocks.concat()), &Pattern::whole(vec![]));
    set_extent_size(&two.parent, 16 << 20);
    for options in [copying(), freeing()] {
        let plan = || Ok(lacuna::fold::plan(&two.child, &two.parent, &options)?.needed_bytes);
        let needed = super::at_rest(&[&two.child, &two.parent], plan).unwrap();
        assert_eq!(needed, (16 << 20) + 3 * BLOCK, "with the block itself and the record");
    }
    // A clone takes none.
    let child = [vec![Block::Hole; 50], vec![Block::Data(1); 16], vec![Block::Hole; 9000]];
    Pattern::whole(child.concat()).write(&two.child);
    let plan =
        || Ok(lacuna::fold::plan(&two.child, &two.parent, &FoldOptions::default())?.needed_bytes);
    let needed = super::at_rest(&[&two.child, &two.parent], plan).unwrap();
    assert_eq!(needed, 2 * BLOCK, "for the record alone");
}

/// XFS frees what is made unwritten, and takes room for all of a unit then.
#[test]
fn what_becomes_unwritten_needs_room_for_a_unit_too() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    let child = [vec![Block::Zero], vec![Block::Hole; 4095]].concat();
    let two = Two::on(&mount, &Pattern::whole(child), &Pattern::whole(vec![]));
    set_extent_size(&two.parent, 16 << 20);
    Pattern::whole(vec![Block::Data(1); 4096]).write_over(&two.parent);
    let plan = || Ok(lacuna::fold::plan(&two.child, &two.parent, &copying())?.needed_bytes);
    let needed = super::at_rest(&[&two.child, &two.parent], plan).unwrap();
    assert_eq!(needed, (16 << 20) + BLOCK, "with the record");
}

/// The record of the fold names the child.
#[test]
fn layers_with_long_paths_and_names_are_folded() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let directory = (0..12).fold(mount.path().to_owned(), |path, _| path.join("d".repeat(200)));
    std::fs::create_dir_all(&directory).unwrap();
    let (child, parent) = (directory.join("\u{1}".repeat(200)), directory.join("parent"));
    Pattern::whole(vec![Block::Data(1), Block::Hole]).write(&child);
    Pattern::whole(vec![Block::Zero, Block::Hole]).write(&parent);
    folded(&child, &parent, &freeing());
    assert_eq!(Content::of(&parent).kinds, [Kind::Data, Kind::Hole]);
}

/// ext4 writes zeros around what is written into an unwritten extent.
#[test]
fn what_was_unwritten_around_the_data_of_a_child_stays_so() {
    for option in ["dioread_nolock", "dioread_lock"] {
        let options = MountOptions { mount: vec![option.to_owned()], ..MountOptions::default() };
        let Some(mount) = Mount::with(Fs::Ext4, &options) else { return };
        let some = (0..200).map(|n| if n % 11 == 3 { Block::Data(1) } else { Block::Hole });
        let (child, parent) =
            (Pattern::whole(some.collect()), Pattern::whole(vec![Block::Zero; 200]));
        for io in crate::IO_MODES {
            for free in [false, true] {
                let options = FoldOptions { io, free, ..FoldOptions::default() };
                Two::on(&mount, &child, &parent).fold(&options);
            }
        }
    }
}

#[test]
fn a_child_is_folded_into_a_device_and_the_rest_of_the_device_stays() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let Some(device) = LoopDevice::new(1 << 20) else { return };
    let old = Pattern::whole(vec![Block::Data(9); 256]);
    old.write_over(device.path());
    let blocks = vec![Block::Data(1), Block::Hole, Block::Zero, Block::Hole, Block::Data(2)];
    let child = Pattern { blocks, size: 5 * BLOCK - 96 };
    let path = mount.path().join("child.img");
    child.write(&path);
    let stats = folded(&path, device.path(), &FoldOptions::default());
    assert_eq!((stats.kinds.data_bytes, stats.kinds.zero_bytes), (2 * BLOCK - 96, BLOCK));
    let (mut expected, new) = (old.bytes(), child.bytes());
    for block in [0..4096, 2 * 4096..3 * 4096, 4 * 4096..5 * 4096 - 96] {
        expected[block.clone()].copy_from_slice(&new[block]);
    }
    assert!(std::fs::read(device.path()).unwrap() == expected);
}

#[test]
fn layers_of_different_filesystems_are_folded_by_copying() {
    let (Some(xfs), Some(btrfs)) = (Mount::new(Fs::Xfs), Mount::new(Fs::Btrfs)) else { return };
    let blocks = [vec![Block::Data(1); 40], vec![Block::Zero; 3], vec![Block::Hole; 3]];
    let (child, parent) = (xfs.path().join("child.img"), btrfs.path().join("parent.img"));
    Pattern::whole(blocks.concat()).write(&child);
    Pattern::whole(vec![Block::Data(3); 45]).write(&parent);
    let (upper, mut lower) = (Layer::seen(&child), Layer::seen(&parent));
    let stats = folded(&child, &parent, &FoldOptions::default());
    assert_eq!((stats.written_bytes, stats.reflinked_bytes), (40 * BLOCK, 0));
    lower.fold(&upper);
    Content::of(&parent).assert_is(&lower.content(), "folded");
    pruned(&parent, &child);
    lower.prune(&upper);
    Content::of(&parent).assert_is(&lower.content(), "pruned");
}
