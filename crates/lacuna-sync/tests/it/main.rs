//! Sessions of wire v1 on real filesystems: our client and our server, each against recordings of the
//! original, against each other, and against peers that misbehave.
//!
//! `PROPTEST_CASES` sets how many cases every property is tried on.

mod defects;
mod devices;
mod fast_sync;
mod http;
mod image;
mod original;
mod process;
mod progress;
mod recordings;
mod relay;
mod server;
mod sessions;
mod trouble;

use lacuna_sync::v1::SyncOptions;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestRunner};

/// Tries `property` on `cases` values, unless the environment says how many.
fn for_all<S: Strategy>(cases: u32, values: S, property: impl Fn(S::Value)) {
    let said = std::env::var("PROPTEST_CASES").ok();
    let config = Config {
        cases: said.and_then(|said| said.parse().ok()).unwrap_or(cases),
        failure_persistence: None,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let tried = TestRunner::new(config).run(&values, |value| {
        property(value);
        Ok(())
    });
    if let Err(failure) = tried {
        panic!("{failure}");
    }
}

/// Without retries, which pause for seconds.
fn options() -> SyncOptions {
    SyncOptions::default()
}
