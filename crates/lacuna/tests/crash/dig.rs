//! A dig that is interrupted at any of its steps.

use lacuna_testing::mount::Fs;
use lacuna_testing::pattern::Block::{Data, DataLastByte, Hole, Zero};
use lacuna_testing::pattern::Pattern;

use crate::chain::{Chain, Operation, partial};
use crate::interrupted::{EIO, ENOSPC, cut_everywhere, fail_everywhere, kill_everywhere};

use Operation::Dig;

/// Zeros of both kinds beside data, up to the last byte.
fn image() -> Vec<Pattern> {
    let first = vec![Data(0), Data(0), Data(1), Zero, Hole, Data(0), DataLastByte, Zero, Data(2)];
    vec![partial([first, vec![Data(0); 20], vec![Data(3), Zero, Data(0)]].concat())]
}

#[test]
fn a_dig_survives_a_power_cut_at_every_step() {
    cut_everywhere(Chain::new(Fs::Ext4, Dig, &image()));
    cut_everywhere(Chain::new(Fs::Xfs, Dig, &image()));
}

#[test]
fn a_dig_survives_being_killed_at_every_step() {
    kill_everywhere(Chain::new(Fs::Ext4, Dig, &image()));
}

#[test]
fn an_error_at_any_step_of_a_dig_is_reported_and_repairable() {
    fail_everywhere(Chain::new(Fs::Xfs, Dig, &image()), &[ENOSPC, EIO]);
}
