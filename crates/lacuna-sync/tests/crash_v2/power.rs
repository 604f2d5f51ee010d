//! The power goes, at every step of a session.

use lacuna::IoMode;
use lacuna_testing::mount::Fs;

use crate::scenario::{Before, Scenario};
use crate::steps::Steps;

/// Cuts the power at each step of an undisturbed session, and checks what the disk has then, and
/// that a second session completes it.
fn cut_everywhere(scenario: Option<Scenario>) {
    let steps = Steps::take();
    let Some(mut scenario) = scenario else { return };
    scenario.prepare();
    let passed = steps.passed(|| scenario.check_done(&scenario.run(), "undisturbed"));
    for (number, point) in passed.iter().enumerate() {
        let what = format!("power cut at {number} of {}, {point}", passed.len());
        scenario.prepare();
        steps.at(number, scenario.mount.power_cutter());
        let ended = scenario.run();
        steps.clear();
        scenario.mount.remount();
        scenario.check(&ended, &what);
        scenario.complete(&what);
    }
}

fn cut(fs: Fs, before: Before, io: IoMode) {
    cut_everywhere(Scenario::new(fs, before, io));
}

#[test]
fn a_new_target_on_ext4_survives_a_power_cut_at_every_step() {
    cut(Fs::Ext4, Before::Nothing, IoMode::Direct);
}

#[test]
fn a_new_target_on_xfs_survives_a_power_cut_at_every_step() {
    cut(Fs::Xfs, Before::Nothing, IoMode::Buffered);
}

#[test]
fn a_part_from_before_survives_a_power_cut_at_every_step() {
    cut(Fs::Ext4, Before::Part, IoMode::Buffered);
}

#[test]
fn an_existing_target_on_ext4_survives_a_power_cut_at_every_step() {
    cut(Fs::Ext4, Before::Smaller, IoMode::Buffered);
    cut(Fs::Ext4, Before::Larger, IoMode::Direct);
}

#[test]
fn an_existing_target_on_xfs_survives_a_power_cut_at_every_step() {
    cut(Fs::Xfs, Before::Larger, IoMode::Buffered);
    cut(Fs::Xfs, Before::Similar, IoMode::Direct);
}

#[test]
fn an_existing_target_on_btrfs_survives_a_power_cut_at_every_step() {
    cut(Fs::Btrfs, Before::Larger, IoMode::Auto);
}

#[test]
fn a_target_that_is_verified_survives_a_power_cut_at_every_step() {
    let scenario = Scenario::new(Fs::Ext4, Before::Similar, IoMode::Buffered);
    cut_everywhere(scenario.map(|mut scenario| {
        scenario.wiring.target.verify = true;
        scenario
    }));
}

#[test]
fn a_target_of_many_threads_survives_a_power_cut_at_every_step() {
    let scenario = Scenario::new(Fs::Ext4, Before::Similar, IoMode::Auto);
    cut_everywhere(scenario.map(|mut scenario| {
        (scenario.wiring.source.threads, scenario.wiring.target.threads) = (3, 3);
        scenario
    }));
}

#[test]
fn a_session_that_ended_well_is_on_the_disk() {
    let _steps = Steps::take();
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Btrfs] {
        for before in Before::ALL {
            let Some(mut scenario) = Scenario::new(fs, before, IoMode::Auto) else { continue };
            scenario.prepare();
            let ended = scenario.run();
            scenario.mount.cut_power();
            scenario.mount.remount();
            scenario.check_done(&ended, &format!("{fs}, {before:?}"));
        }
    }
}

const WRITES: [&str; 4] = ["image.truncate", "image.punch", "image.zero", "image.write"];

/// Whatever names an image or takes its mark away comes when the image is on the disk.
#[test]
fn all_that_was_written_is_synced_before_anything_says_that_it_is_complete() {
    let steps = Steps::take();
    for before in Before::ALL {
        for io in [IoMode::Direct, IoMode::Buffered] {
            let Some(mut scenario) = Scenario::new(Fs::Ext4, before, io) else { return };
            scenario.prepare();
            let passed = steps.passed(|| scenario.check_done(&scenario.run(), "undisturbed"));
            let last = passed.iter().rposition(|point| WRITES.contains(point)).expect("a write");
            let sync = passed.iter().rposition(|point| *point == "image.sync").expect("a sync");
            assert!(last < sync, "{before:?}: {passed:?}");
            let says = |point: &&str| matches!(*point, "target.rename" | "beside.remove");
            let first = passed[last..].iter().position(says).expect("an end") + last;
            assert!(sync < first, "{before:?}: {passed:?}");
        }
    }
}
