//! A copy to a new target that shares its source's space loses power, at every step.

use lacuna::{IoMode, Reflink};
use lacuna_testing::mount::Fs;

use crate::points::{ALWAYS, EVERY_OTHER};
use crate::power::cut_everywhere;
use crate::scenario::{Scenario, source};

/// The long run of the source can be shared, and is.
fn cut_sharing(fs: Fs, checkpoints: &'static str) {
    let Some(mut scenario) = Scenario::beside(fs, IoMode::Auto, &source()) else { return };
    scenario.options.reflink = Reflink::Always;
    let passed = cut_everywhere(Some(scenario), checkpoints);
    assert!(passed.contains(&"image.clone"), "{passed:?}");
}

#[test]
fn a_new_target_that_shares_space_on_xfs_survives_a_power_cut_at_every_step() {
    cut_sharing(Fs::Xfs, ALWAYS);
}

#[test]
fn a_new_target_that_shares_space_on_btrfs_survives_a_power_cut_at_every_step() {
    cut_sharing(Fs::Btrfs, EVERY_OTHER);
}
