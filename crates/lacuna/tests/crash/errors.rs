//! A step of a copy fails, every one in turn.

use lacuna::IoMode;
use lacuna_testing::mount::Fs;

use crate::points::{ALWAYS, NEVER, Points};
use crate::scenario::{Scenario, longer, shorter, source};

/// `ENOSPC` and `EIO`.
const ERRORS: [i32; 2] = [28, 5];

/// Fails each step that an undisturbed copy takes, and checks that this neither goes unnoticed nor
/// is in the way of a copy that does not fail.
fn fail_everywhere(scenario: Option<Scenario>, checkpoints: &'static str) {
    let Some(mut scenario) = scenario else { return };
    let mut points = Points::take();
    points.checkpoints = checkpoints;
    scenario.prepare();
    let passed = points.passed_by(|| {
        scenario.copy().unwrap();
    });
    for (number, name) in passed.iter().enumerate() {
        for errno in ERRORS {
            scenario.prepare();
            points.fail_at(&passed, number, errno);
            let result = scenario.copy();
            points.clear();
            let what = format!("error {errno} at {number} of {}, {name}", passed.len());
            assert!(result.is_err(), "{what}: not reported");
            scenario.check(&result, &what);
            scenario.complete(&what);
        }
    }
}

#[test]
fn an_error_at_any_step_of_a_copy_to_a_new_target_is_reported_and_repairable() {
    fail_everywhere(Scenario::new(Fs::Ext4, IoMode::Auto, &source(), None), ALWAYS);
}

#[test]
fn an_error_at_any_step_of_a_copy_to_a_new_target_on_tmpfs_is_reported_and_repairable() {
    fail_everywhere(Scenario::new(Fs::Tmpfs, IoMode::Auto, &source(), None), ALWAYS);
}

#[test]
fn an_error_at_any_step_of_a_copy_to_a_shorter_target_is_reported_and_repairable() {
    fail_everywhere(Scenario::new(Fs::Xfs, IoMode::Auto, &source(), Some(shorter())), NEVER);
}

#[test]
fn an_error_at_any_step_of_a_copy_to_a_longer_target_is_reported_and_repairable() {
    fail_everywhere(Scenario::new(Fs::Ext4, IoMode::Buffered, &source(), Some(longer())), NEVER);
}
