//! A fold that is interrupted at any of its steps.

use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{BLOCK, Block, Pattern};

use crate::chain::{Chain, Operation, layers};
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
