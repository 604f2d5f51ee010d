//! Sessions of version 2: both ends in one process, on real filesystems, over a stream that delays,
//! limits and cuts what passes.
//!
//! `PROPTEST_CASES` sets how many cases every property is tried on.

#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../../../lacuna/tests/it/content.rs"]
mod content;
mod cost;
mod crossings;
mod cuts;
mod devices;
mod dry;
mod dry_trouble;
mod full;
#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../it/image.rs"]
mod image;
mod memory;
mod pair;
mod peer;
mod progress;
mod rebuild;
mod replica;
mod sessions;
mod trouble;
mod wire;

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
