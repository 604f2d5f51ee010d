//! The power goes, at every step of a session.

use lacuna::IoMode;
use lacuna_testing::mount::Fs;

use crate::scenario::{Before, Scenario};
use crate::steps::Steps;

/// Cuts the power at each step of an undisturbed session, and checks what the disk has then, and
/// that a second session completes it.
fn cut_everywhere(fs: Fs, before: Before, target_io: IoMode) {
    let steps = Steps::take();
    let Some(mut scenario) = Scenario::new(fs, before, target_io) else { return };
    scenario.prepare();
    let passed = steps.passed(|| scenario.run().expect("an undisturbed session"));
    scenario.check(&Ok(()), "undisturbed");
    for (number, point) in passed.iter().enumerate() {
        let what = format!("power cut at {number} of {}, {point}", passed.len());
        scenario.prepare();
        steps.at(number, scenario.mount.power_cutter());
        let result = scenario.run();
        steps.clear();
        scenario.mount.remount();
        scenario.check(&result, &what);
        scenario.complete(&what);
    }
}

#[test]
fn a_new_target_on_ext4_survives_a_power_cut_at_every_step() {
    cut_everywhere(Fs::Ext4, Before::Nothing, IoMode::Direct);
    cut_everywhere(Fs::Ext4, Before::Record, IoMode::Buffered);
}

#[test]
fn a_new_target_on_xfs_survives_a_power_cut_at_every_step() {
    cut_everywhere(Fs::Xfs, Before::Record, IoMode::Buffered);
}

#[test]
fn an_existing_target_on_ext4_survives_a_power_cut_at_every_step() {
    cut_everywhere(Fs::Ext4, Before::Smaller, IoMode::Buffered);
    cut_everywhere(Fs::Ext4, Before::Larger, IoMode::Direct);
    cut_everywhere(Fs::Ext4, Before::Similar, IoMode::Buffered);
}

#[test]
fn an_existing_target_on_xfs_survives_a_power_cut_at_every_step() {
    cut_everywhere(Fs::Xfs, Before::Larger, IoMode::Buffered);
    cut_everywhere(Fs::Xfs, Before::Similar, IoMode::Direct);
}

#[test]
fn a_session_that_ended_well_is_on_the_disk() {
    let _steps = Steps::take();
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Btrfs] {
        for before in Before::ALL {
            for target_io in [IoMode::Direct, IoMode::Buffered] {
                let Some(mut scenario) = Scenario::new(fs, before, target_io) else { continue };
                scenario.prepare();
                let result = scenario.run();
                result.as_ref().expect("a session");
                scenario.mount.cut_power();
                scenario.mount.remount();
                scenario.check(&result, &format!("{fs}, {before:?}, {target_io:?}"));
            }
        }
    }
}

const WRITES: [&str; 3] = ["image.truncate", "image.punch", "image.write"];

/// Whatever names an image or vouches for it comes when the image is on the disk.
#[test]
fn all_that_was_written_is_synced_before_anything_says_that_it_is_complete() {
    let steps = Steps::take();
    for before in Before::ALL {
        for target_io in [IoMode::Direct, IoMode::Buffered] {
            let Some(mut scenario) = Scenario::new(Fs::Ext4, before, target_io) else { return };
            scenario.prepare();
            let passed = steps.passed(|| scenario.run().expect("a session"));
            let last = passed.iter().rposition(|point| WRITES.contains(point)).expect("a write");
            assert_eq!(passed.get(last + 1), Some(&"image.sync"), "{before:?}: {passed:?}");
            // The record, at the very end.
            let record = ["beside.write", "beside.sync", "beside.rename", "beside.sync-directory"];
            assert!(passed.ends_with(&record), "{before:?}: {passed:?}");
        }
    }
}
