//! The points that lacuna passes, and what happens there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use fail::FailScenario;

/// Every point between two steps that a power cut can separate.
const POINTS: [&str; 16] = [
    "image.write",
    "image.punch",
    "image.zero",
    "image.clone",
    "image.truncate",
    "image.sync",
    // Before the `image.` point of the same name, where the image is that of the source.
    "source.punch",
    "source.sync",
    "beside.write",
    "beside.sync",
    "beside.rename",
    "beside.link",
    "beside.remove",
    "beside.sync-directory",
    "target.rename",
    "partials.lock",
];

/// Where a copy asks whether a checkpoint is due, which takes a second or many bytes.
const CHECKPOINT: &str = "checkpoint.due";

/// Where whoever finds a lock taken waits before it tries again. An error there has it give up at once.
const WAIT: &str = "flock.wait";

/// After no range, unless by time.
pub(crate) const NEVER: &str = "off";
/// After every range.
pub(crate) const ALWAYS: &str = "return";
/// After the second and the fourth: what the record says is done was not synced by the one before.
pub(crate) const EVERY_OTHER: &str = "1*off->1*return->1*off->1*return";

/// The points of this process, for one test at a time. A test that has lacuna do anything without
/// having taken them runs into those of another.
pub(crate) struct Points {
    /// After which ranges that are copied a checkpoint follows: one of the constants here.
    pub(crate) checkpoints: &'static str,
    _scenario: FailScenario<'static>,
}

impl Points {
    /// Waits until no other test has them.
    pub(crate) fn take() -> Self {
        assert!(fail::has_failpoints(), "lacuna is built without its points");
        Self { checkpoints: NEVER, _scenario: FailScenario::setup() }
    }

    /// Calls `visit` with the name and the number of each point as it is passed.
    pub(crate) fn visit(&self, visit: impl Fn(&'static str, usize) + Send + Sync + 'static) {
        self.begin();
        let shared = Arc::new((visit, AtomicUsize::new(0)));
        for name in POINTS {
            let shared = shared.clone();
            let passed = move || {
                let (visit, count) = &*shared;
                visit(name, count.fetch_add(1, Ordering::SeqCst));
            };
            fail::cfg_callback(name, passed).unwrap();
        }
    }

    /// The points that `action` passes, in their order.
    pub(crate) fn passed_by(&self, action: impl FnOnce()) -> Vec<&'static str> {
        let passed = Arc::new(Mutex::new(vec![]));
        let names = passed.clone();
        self.visit(move |name, _| names.lock().unwrap().push(name));
        action();
        self.clear();
        let passed = passed.lock().unwrap();
        passed.clone()
    }

    /// Does `action` when the point with this number is passed, before what comes after the point.
    pub(crate) fn at(&self, number: usize, action: impl Fn() + Send + Sync + 'static) {
        self.visit(move |_, passed| {
            if passed == number {
                action();
            }
        });
    }

    /// Makes what comes after a point fail with a system error, once: the point with this number
    /// among those that an undisturbed run has `passed`.
    pub(crate) fn fail_at(&self, passed: &[&str], number: usize, errno: i32) {
        self.begin();
        let name = passed[number];
        let before = passed[..number].iter().filter(|passed| **passed == name).count();
        fail::cfg(name, &format!("{before}*off->1*return({errno})")).unwrap();
    }

    /// Makes all that comes after a point fail from here on.
    pub(crate) fn fail_always(&self, name: &str, errno: i32) {
        fail::cfg(name, &format!("return({errno})")).unwrap();
    }

    fn begin(&self) {
        fail::cfg(CHECKPOINT, self.checkpoints).unwrap();
    }

    /// Nothing happens at any point from here on.
    pub(crate) fn clear(&self) {
        fail::remove(CHECKPOINT);
        fail::remove(WAIT);
        for name in POINTS {
            fail::remove(name);
        }
    }
}
