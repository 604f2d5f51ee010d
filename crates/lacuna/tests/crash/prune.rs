//! A prune that is interrupted at any of its steps.

use lacuna_testing::mount::Fs;
use lacuna_testing::pattern::Block::{Data, Hole, Zero};

use crate::chain::{Chain, Operation, layers};
use crate::interrupted::{EIO, ENOSPC, cut_everywhere, fail_everywhere, kill_everywhere};

use Operation::Prune;

#[test]
fn a_prune_survives_a_power_cut_at_every_step() {
    cut_everywhere(Chain::new(Fs::Ext4, Prune, &layers(Data(7), Zero)));
    cut_everywhere(Chain::new(Fs::Xfs, Prune, &layers(Hole, Data(7))));
}

#[test]
fn a_prune_survives_being_killed_at_every_step() {
    kill_everywhere(Chain::new(Fs::Ext4, Prune, &layers(Zero, Hole)));
    kill_everywhere(Chain::new(Fs::Btrfs, Prune, &layers(Hole, Data(7))));
}

#[test]
fn an_error_at_any_step_of_a_prune_is_reported_and_repairable() {
    fail_everywhere(Chain::new(Fs::Ext4, Prune, &layers(Hole, Data(7))), &[ENOSPC, EIO]);
}
