//! A system call fails, at every step of a session: the disk is full, or broken.

use lacuna::IoMode;
use lacuna_sync::Error;
use lacuna_testing::mount::Fs;
use rustix::io::Errno;

use crate::scenario::{Before, Scenario};
use crate::steps::Steps;

/// Lets each step of an undisturbed session fail, once and from then on, and checks what is left
/// and that a second session completes it.
fn fail_everywhere(scenario: Option<Scenario>) {
    let steps = Steps::take();
    let Some(mut scenario) = scenario else { return };
    scenario.prepare();
    let passed = steps.passed(|| scenario.check_done(&scenario.run(), "undisturbed"));
    for (number, point) in passed.iter().enumerate() {
        let times = passed[..number].iter().filter(|other| *other == point).count();
        for (errno, once) in [(Errno::NOSPC, true), (Errno::IO, false)] {
            let what = format!("{errno:?} at {number} of {}, {point}", passed.len());
            let run = |_| {
                scenario.prepare();
                steps.fail(point, times, errno.raw_os_error(), once);
                let ended = scenario.run();
                steps.clear();
                ended
            };
            // The checkpoint of a slow session is a step that another does not have.
            let ended = (0..3).map(run).find(|ended| ended.received.is_err());
            let ended = ended.unwrap_or_else(|| panic!("{what}: passed over"));
            scenario.check(&ended, &what);
            let failure = ended.received.expect_err(&what);
            let (words, code) = match errno {
                Errno::NOSPC => ("no space left on device", 9),
                _ => ("input/output error", 1),
            };
            let said = lacuna::describe(&failure.cause);
            assert!(said.contains(words), "{what}: {said}");
            let heard = ended.sent.expect_err(&what);
            let is_told = matches!(&heard, Error::Peer { code: told, words }
                if *told == code && *words == said);
            assert!(is_told, "{what}: {heard:?}");
            scenario.check_kept(&failure.kept, &what);
            scenario.complete(&what);
        }
    }
}

fn fail(before: Before, io: IoMode) {
    fail_everywhere(Scenario::new(Fs::Ext4, before, io));
}

#[test]
fn a_new_target_survives_an_error_at_every_step() {
    fail(Before::Nothing, IoMode::Direct);
}

#[test]
fn a_part_from_before_survives_an_error_at_every_step() {
    fail(Before::Part, IoMode::Buffered);
}

#[test]
fn a_smaller_target_survives_an_error_at_every_step() {
    fail(Before::Smaller, IoMode::Direct);
}

#[test]
fn a_larger_target_survives_an_error_at_every_step() {
    fail(Before::Larger, IoMode::Buffered);
}

#[test]
fn a_similar_target_survives_an_error_at_every_step() {
    fail(Before::Similar, IoMode::Direct);
}

#[test]
fn a_target_that_is_verified_survives_an_error_at_every_step() {
    let scenario = Scenario::new(Fs::Xfs, Before::Similar, IoMode::Buffered);
    fail_everywhere(scenario.map(|mut scenario| {
        scenario.wiring.target.verify = true;
        scenario
    }));
}

#[test]
fn a_quota_that_is_used_up_is_told_as_a_lack_of_space() {
    let steps = Steps::take();
    let Some(mut scenario) = Scenario::new(Fs::Ext4, Before::Nothing, IoMode::Auto) else { return };
    scenario.prepare();
    steps.fail("image.write", 0, Errno::DQUOT.raw_os_error(), true);
    let ended = scenario.run();
    steps.clear();
    let here = ended.received.unwrap_err().cause.remedy().unwrap();
    assert_eq!(here, "free some space and run the same command again");
    let there = ended.sent.unwrap_err();
    assert!(matches!(there, Error::Peer { code: 9, .. }), "{there:?}");
}
