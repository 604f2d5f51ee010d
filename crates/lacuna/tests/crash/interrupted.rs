//! Interrupting what is done to a chain, at every step.

use crate::chain::Chain;
use crate::killed::kill_at;
use crate::points::Points;

pub(crate) const ENOSPC: i32 = 28;
pub(crate) const EIO: i32 = 5;
pub(crate) const EAGAIN: i32 = 11;

/// The points that the operation passes when nothing disturbs it.
fn undisturbed(chain: &Chain, points: &Points) -> Vec<&'static str> {
    chain.prepare();
    chain.assert_prepared();
    let passed = points.passed_by(|| chain.run().unwrap());
    chain.check(true, "undisturbed");
    passed
}

/// Does `interrupt` at each of them, and the same operation again. `interrupt` returns whether the
/// operation was reported done.
fn everywhere(
    chain: &mut Chain,
    points: &Points,
    interrupt: impl Fn(&mut Chain, &[&'static str], usize) -> bool,
) {
    let passed = undisturbed(chain, points);
    for (number, name) in passed.iter().enumerate() {
        chain.prepare();
        let reported = interrupt(chain, &passed, number);
        let what = format!("{:?}, at {number} of {}, {name}", chain.operation, passed.len());
        chain.check(reported, &what);
        chain.complete(&what);
    }
}

/// The power goes.
pub(crate) fn cut_everywhere(chain: Option<Chain>) {
    let Some(mut chain) = chain else { return };
    let points = Points::take();
    everywhere(&mut chain, &points, |chain, _, number| {
        points.at(number, chain.mount.power_cutter());
        let result = chain.run();
        points.clear();
        chain.mount.remount();
        result.is_ok()
    });
}

/// The process is killed, and so is the next one.
pub(crate) fn kill_everywhere(chain: Option<Chain>) {
    let Some(mut chain) = chain else { return };
    let points = Points::take();
    everywhere(&mut chain, &points, |chain, passed, number| {
        let (operation, directory) = (chain.operation, chain.directory());
        let reported = kill_at(number, operation, &directory);
        chain.check(reported, &format!("{operation:?}, killed at {number}"));
        kill_at(passed.len() - 1 - number, operation, &directory)
    });
}

/// The step fails, with each of these errors.
pub(crate) fn fail_everywhere(chain: Option<Chain>, errors: &[i32]) {
    let Some(mut chain) = chain else { return };
    let points = Points::take();
    for &errno in errors {
        everywhere(&mut chain, &points, |chain, passed, number| {
            points.fail_at(passed, number, errno);
            let result = chain.run();
            points.clear();
            if result.is_ok() {
                // Not reached: the steps that a filesystem makes necessary are not always the same.
                assert!(undisturbed(chain, &points) != passed, "{errno} at {number}: unseen");
            }
            result.is_ok()
        });
    }
}
