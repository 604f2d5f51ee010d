//! The steps of a session at which something can be made to happen.

use std::sync::{Arc, Mutex};

use fail::FailScenario;

/// Every point that whoever writes a target passes.
const POINTS: [&str; 11] = [
    "image.truncate",
    "image.punch",
    "image.zero",
    "image.write",
    "image.sync",
    "beside.write",
    "beside.sync",
    "beside.rename",
    "beside.remove",
    "beside.sync-directory",
    "target.rename",
];

/// All points of this process, which nobody else has as long as this lives.
pub(crate) struct Steps(#[allow(dead_code, reason = "held")] FailScenario<'static>);

impl Steps {
    pub(crate) fn take() -> Self {
        Self(FailScenario::setup())
    }

    /// The points that are passed while `work` runs.
    pub(crate) fn passed(&self, work: impl FnOnce()) -> Vec<&'static str> {
        let passed = Arc::new(Mutex::new(vec![]));
        for point in POINTS {
            let passed = passed.clone();
            self.on(point, move || passed.lock().unwrap().push(point));
        }
        work();
        self.clear();
        let passed = passed.lock().unwrap();
        passed.clone()
    }

    /// Calls `act` when the step of this number is reached, counted from 0 over all points.
    pub(crate) fn at(&self, number: usize, act: impl Fn() + Send + Sync + 'static) {
        let (passed, act) = (Arc::new(Mutex::new(0)), Arc::new(act));
        for point in POINTS {
            let (passed, act) = (passed.clone(), act.clone());
            self.on(point, move || {
                // No other step goes on while this one is being disturbed.
                let mut passed = passed.lock().unwrap();
                if *passed == number {
                    act();
                }
                *passed += 1;
            });
        }
    }

    /// Calls `act` whenever `point` is passed.
    pub(crate) fn on(&self, point: &str, act: impl Fn() + Send + Sync + 'static) {
        fail::cfg_callback(point, act).expect("a point");
    }

    /// Lets `point` fail with a system error after it was passed `times` times: once, or for ever.
    pub(crate) fn fail(&self, point: &str, times: usize, error: i32, once: bool) {
        let error = match once {
            true => format!("1*return({error})->off"),
            false => format!("return({error})"),
        };
        fail::cfg(point, &format!("{times}*off->{error}")).expect("a point");
    }

    pub(crate) fn clear(&self) {
        POINTS.into_iter().for_each(fail::remove);
    }
}
