//! The power goes, at every step of a copy.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use lacuna::IoMode;
use lacuna_testing::mount::Fs;

use crate::points::{ALWAYS, EVERY_OTHER, NEVER, Points};
use crate::scenario::{Scenario, longer, shorter, source};

/// Cuts the power at each point that an undisturbed copy passes, and checks what the disk has
/// then, and that the copy can be made all the same. Returns those points.
pub(crate) fn cut_everywhere(
    scenario: Option<Scenario>,
    checkpoints: &'static str,
) -> Vec<&'static str> {
    let Some(mut scenario) = scenario else { return vec![] };
    let mut points = Points::take();
    points.checkpoints = checkpoints;
    scenario.prepare();
    let passed = points.passed_by(|| {
        scenario.copy().unwrap();
    });
    scenario.check(&Ok(()), "undisturbed");
    for (number, name) in passed.iter().enumerate() {
        scenario.prepare();
        points.at(number, scenario.mount.power_cutter());
        let result = scenario.copy();
        points.clear();
        scenario.mount.remount();
        let what = format!("power cut at {number} of {}, {name}", passed.len());
        scenario.check(&result, &what);
        scenario.complete(&what);
    }
    passed
}

#[test]
fn a_new_target_on_ext4_survives_a_power_cut_at_every_step() {
    cut_everywhere(Scenario::new(Fs::Ext4, IoMode::Buffered, &source(), None), NEVER);
}

#[test]
fn a_new_target_on_xfs_survives_a_power_cut_at_every_step() {
    cut_everywhere(Scenario::new(Fs::Xfs, IoMode::Direct, &source(), None), NEVER);
}

#[test]
fn a_new_target_with_checkpoints_on_ext4_survives_a_power_cut_at_every_step() {
    cut_everywhere(Scenario::new(Fs::Ext4, IoMode::Buffered, &source(), None), EVERY_OTHER);
}

#[test]
fn a_new_target_with_checkpoints_on_xfs_survives_a_power_cut_at_every_step() {
    cut_everywhere(Scenario::new(Fs::Xfs, IoMode::Buffered, &source(), None), ALWAYS);
}

#[test]
fn an_existing_target_on_ext4_survives_a_power_cut_at_every_step() {
    cut_everywhere(Scenario::new(Fs::Ext4, IoMode::Direct, &source(), Some(shorter())), NEVER);
    cut_everywhere(Scenario::new(Fs::Ext4, IoMode::Direct, &source(), Some(longer())), NEVER);
}

#[test]
fn an_existing_target_on_xfs_survives_a_power_cut_at_every_step() {
    cut_everywhere(Scenario::new(Fs::Xfs, IoMode::Direct, &source(), Some(longer())), NEVER);
}

#[test]
fn an_existing_target_on_btrfs_survives_a_power_cut_at_every_step() {
    cut_everywhere(Scenario::new(Fs::Btrfs, IoMode::Auto, &source(), Some(longer())), NEVER);
}

#[test]
fn a_new_target_of_many_threads_survives_a_power_cut_at_every_step() {
    for fs in [Fs::Ext4, Fs::Xfs] {
        let Some(mut scenario) = Scenario::new(fs, IoMode::Buffered, &source(), None) else {
            continue;
        };
        scenario.options.threads = 4;
        cut_everywhere(Some(scenario), EVERY_OTHER);
    }
}

#[test]
fn all_that_was_written_is_synced_before_anything_vouches_for_it() {
    let mut points = Points::take();
    for (old, checkpoints) in [(None, ALWAYS), (Some(shorter()), NEVER), (Some(longer()), NEVER)] {
        let scenario = Scenario::new(Fs::Ext4, IoMode::Buffered, &source(), old);
        let Some(mut scenario) = scenario else { return };
        scenario.prepare();
        points.checkpoints = checkpoints;
        let passed = points.passed_by(|| {
            scenario.copy().unwrap();
        });
        let mut written = false;
        for name in &passed {
            match *name {
                "image.write" | "image.punch" | "image.zero" | "image.truncate" => written = true,
                "image.sync" => written = false,
                // A record, a name, the end of a mark.
                "beside.write" | "target.rename" | "beside.remove" => {
                    assert!(!written, "{name} in {passed:?}");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_copy_that_is_reported_done_is_on_the_disk() {
    let _points = Points::take();
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Btrfs] {
        for old in [None, Some(shorter())] {
            let Some(mut scenario) = Scenario::new(fs, IoMode::Auto, &source(), old) else {
                continue;
            };
            scenario.prepare();
            let mode = std::fs::Permissions::from_mode(0o400);
            std::fs::set_permissions(&scenario.source, mode).unwrap();
            let result = scenario.copy();
            assert!(result.is_ok(), "{fs}: {result:?}");
            let mode = std::fs::metadata(&scenario.target).unwrap().mode();
            scenario.mount.cut_power();
            scenario.mount.remount();
            scenario.check(&result, fs.to_string().as_str());
            assert_eq!(std::fs::metadata(&scenario.target).unwrap().mode(), mode, "{fs}");
            scenario.complete(fs.to_string().as_str());
        }
    }
}
