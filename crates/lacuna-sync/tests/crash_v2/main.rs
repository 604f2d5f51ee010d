//! Sessions of version 2 that lose power, or a system call, at each of their steps.
//!
//! In a process of its own, because the points at which that happens are the process's.

#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../../../lacuna/tests/it/content.rs"]
mod content;
#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../it/image.rs"]
mod image;
#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../v2/pair.rs"]
mod pair;
#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../v2/peer.rs"]
mod peer;
#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../crash/steps.rs"]
mod steps;
#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../v2/wire.rs"]
mod wire;

mod checkpoints;
mod errors;
mod power;
mod replica;
mod scenario;
mod slow;
mod verify;
