//! A system call fails, at every step of a session: the disk is full, or broken.

use lacuna::IoMode;
use lacuna_testing::mount::Fs;
use rustix::io::Errno;

use crate::scenario::{Before, Scenario};
use crate::steps::Steps;

/// Lets each step of an undisturbed session fail, once and from then on, and checks what is left
/// and that a second session completes it.
fn fail_everywhere(before: Before, target_io: IoMode) {
    let steps = Steps::take();
    let Some(mut scenario) = Scenario::new(Fs::Ext4, before, target_io) else { return };
    scenario.prepare();
    let passed = steps.passed(|| scenario.run().expect("an undisturbed session"));
    let errors = [(Errno::NOSPC, "no space left on device"), (Errno::IO, "input/output error")];
    for (number, point) in passed.iter().enumerate() {
        let times = passed[..number].iter().filter(|other| *other == point).count();
        for ((errno, words), once) in errors.into_iter().zip([true, false]) {
            let what = format!("{words} at {number} of {}, {point}", passed.len());
            scenario.prepare();
            steps.fail(point, times, errno.raw_os_error(), once);
            let result = scenario.run();
            steps.clear();
            if let Err(error) = &result {
                let error = lacuna::describe(error);
                assert!(error.contains(words), "{what}: {error}");
            }
            scenario.check(&result, &what);
            scenario.complete(&what);
        }
    }
}

#[test]
fn a_new_target_survives_an_error_at_every_step() {
    fail_everywhere(Before::Nothing, IoMode::Direct);
    fail_everywhere(Before::Record, IoMode::Buffered);
}

#[test]
fn a_smaller_target_survives_an_error_at_every_step() {
    fail_everywhere(Before::Smaller, IoMode::Direct);
}

#[test]
fn a_larger_target_survives_an_error_at_every_step() {
    fail_everywhere(Before::Larger, IoMode::Buffered);
}

#[test]
fn a_similar_target_survives_an_error_at_every_step() {
    fail_everywhere(Before::Similar, IoMode::Direct);
}
