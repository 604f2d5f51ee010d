//! A fold that is interrupted at any of its steps.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{BLOCK, Block, Kind, Pattern};

use rustix::fs::{FallocateFlags, fallocate};

use crate::chain::{Chain, Operation, layers};
use crate::content::Content;
use crate::interrupted::{EIO, ENOSPC, cut_everywhere, fail_everywhere, kill_everywhere};
use crate::points::Points;

use Block::{Data, Hole, Zero};
use Operation::{Fold, FoldFree};

#[test]
fn a_fold_on_ext4_survives_a_power_cut_at_every_step() {
    cut_everywhere(Chain::new(Fs::Ext4, Fold, &layers(Data(7), Zero)));
}

#[test]
fn a_fold_on_xfs_survives_a_power_cut_at_every_step() {
    cut_everywhere(Chain::new(Fs::Xfs, Fold, &layers(Hole, Data(7))));
}

#[test]
fn a_fold_that_frees_on_xfs_survives_a_power_cut_at_every_step() {
    cut_everywhere(Chain::new(Fs::Xfs, FoldFree, &layers(Zero, Data(7))));
}

#[test]
fn a_fold_that_frees_on_btrfs_survives_a_power_cut_at_every_step() {
    cut_everywhere(Chain::new(Fs::Btrfs, FoldFree, &layers(Data(7), Hole)));
}

#[test]
fn a_fold_that_frees_in_rounds_on_ext4_survives_a_power_cut_at_every_step() {
    cut_everywhere(rounds(300, 2 << 20));
}

#[test]
fn a_fold_where_xfs_allocates_more_than_is_asked_for_survives_a_power_cut_at_every_step() {
    let inherited = ["-d", "extszinherit=16"].map(str::to_owned).to_vec();
    let options = MountOptions { mkfs: inherited, ..MountOptions::default() };
    let Some(mount) = Mount::with(Fs::Xfs, &options) else { return };
    let mut layers = layers(Data(7), Hole);
    // What is allocated for a moment hides nothing that could be read.
    layers[0].blocks.fill(Hole);
    cut_everywhere(Some(Chain::on(mount, FoldFree, &layers)));
}

#[test]
fn a_fold_survives_being_killed_at_every_step() {
    kill_everywhere(Chain::new(Fs::Ext4, Fold, &layers(Zero, Data(7))));
    kill_everywhere(Chain::new(Fs::Xfs, FoldFree, &layers(Hole, Zero)));
}

#[test]
fn an_error_at_any_step_of_a_fold_is_reported_and_repairable() {
    fail_everywhere(Chain::new(Fs::Ext4, FoldFree, &layers(Hole, Hole)), &[ENOSPC, EIO]);
    fail_everywhere(Chain::new(Fs::Xfs, Fold, &layers(Data(7), Zero)), &[ENOSPC]);
}

#[test]
fn a_fold_in_rounds_moves_whole_blocks_however_much_room_there_is() {
    let _points = Points::take();
    for leave in [3 << 20, (3 << 20) + BLOCK] {
        let Some(chain) = rounds(500, leave) else { return };
        chain.run().unwrap();
        chain.check(true, "in rounds");
    }
}

#[test]
fn a_disk_that_fills_up_in_the_middle_leaves_a_whole_chain_that_is_folded_once_there_is_room() {
    let points = Points::take();
    let rows = |seed| Pattern::whole([[Data(seed), Hole].repeat(400), vec![Zero; 9]].concat());
    let layers = [Pattern::whole(vec![Data(1); 809]), Pattern::whole(vec![Hole; 809]), rows(3)];
    for (fs, operation) in [(Fs::Ext4, Fold), (Fs::Ext4, FoldFree), (Fs::Xfs, Fold)] {
        let Some(chain) = Chain::new(fs, operation, &layers) else { continue };
        chain.prepare();
        let filler = chain.mount.path().join("filler");
        let (path, writes) = (filler.clone(), AtomicUsize::new(0));
        points.visit(move |name, _| {
            if name == "image.write" && writes.fetch_add(1, Ordering::SeqCst) == 20 {
                fill(&path);
            }
        });
        let error = chain.run().unwrap_err();
        points.clear();
        assert_eq!(error.io_kind(), Some(ErrorKind::StorageFull), "{fs:?}: {error:?}");
        chain.check(false, "on a full disk");
        assert!(chain.is_marked()());
        // At once: XFS does that later for a file that is only removed.
        File::create(&filler).unwrap();
        chain.complete("on a full disk");
    }
}

#[test]
fn a_child_that_became_smaller_since_a_fold_was_interrupted_is_folded() {
    let points = Points::take();
    let layers = [vec![Data(1); 40], vec![Hole; 10], [vec![Data(3)], vec![Hole; 39]].concat()];
    let Some(chain) = Chain::new(Fs::Ext4, Fold, &layers.map(Pattern::whole)) else { return };
    chain.prepare();
    points.fail_always("image.truncate", EIO);
    chain.run().unwrap_err();
    points.clear();
    assert!(chain.is_marked()());
    let [parent, child] = ["parent.img", "child.img"].map(|name| chain.directory().join(name));
    File::options().write(true).open(&child).unwrap().set_len(20 * BLOCK + 100).unwrap();
    chain.run().unwrap();
    assert_eq!(parent.metadata().unwrap().len(), 20 * BLOCK + 100);
    assert_eq!(Content::of(&parent).kinds[0], Kind::Data);
    assert!(Content::of(&parent).kinds[1..].iter().all(|kind| *kind == Kind::Hole));
}

/// Takes all that is free.
pub(crate) fn fill(path: &Path) {
    let file = File::create(path).unwrap();
    let mut size = 0;
    for step in [1 << 20, 64 << 10, BLOCK] {
        while fallocate(&file, FallocateFlags::empty(), size, step).is_ok() {
            size += step;
        }
    }
    file.sync_all().unwrap();
}

/// A disk with so little room that the child's ranges go in several rounds.
fn rounds(blocks: usize, leave: u64) -> Option<Chain> {
    let layers = [1, 2, 3].map(|seed| {
        let own = if seed == 2 { 20 } else { blocks };
        Pattern::whole([vec![Data(seed); own], vec![Hole; blocks - own]].concat())
    });
    let chain = Chain::new(Fs::Ext4, FoldFree, &layers)?;
    chain.fill(leave);
    Some(chain)
}
