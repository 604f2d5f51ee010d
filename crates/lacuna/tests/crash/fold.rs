//! A fold that is interrupted at any of its steps.

use lacuna_testing::mount::Fs;
use lacuna_testing::pattern::{Block, Pattern};

use crate::chain::{Chain, Operation, layers};
use crate::interrupted::{cut_everywhere, fail_everywhere, kill_everywhere};

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
    cut_everywhere(rounds());
}

#[test]
fn a_fold_survives_being_killed_at_every_step() {
    kill_everywhere(Chain::new(Fs::Ext4, Fold, &layers(Zero, Data(7))));
    kill_everywhere(Chain::new(Fs::Xfs, FoldFree, &layers(Hole, Zero)));
    kill_everywhere(rounds());
}

#[test]
fn an_error_at_any_step_of_a_fold_is_reported_and_repairable() {
    fail_everywhere(Chain::new(Fs::Ext4, FoldFree, &layers(Hole, Hole)));
    fail_everywhere(Chain::new(Fs::Xfs, Fold, &layers(Data(7), Zero)));
}

/// A disk with so little room that the child's ranges go in three rounds.
fn rounds() -> Option<Chain> {
    let [base, parent, child] = [1, 2, 3].map(|seed| Pattern::whole(vec![Data(seed); 600]));
    let parent = Pattern::whole([&parent.blocks[..20], &[Hole; 580]].concat());
    let chain = Chain::new(Fs::Ext4, FoldFree, &[base, parent, child])?;
    chain.fill(2 << 20);
    Some(chain)
}
