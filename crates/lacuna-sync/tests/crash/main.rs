//! Sessions that lose power, or a system call, at each of their steps.
//!
//! In a process of its own, because the points at which that happens are the process's.

#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../it/http.rs"]
mod http;
#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../it/image.rs"]
mod image;
#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../it/server.rs"]
mod server;

#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../v2/pair.rs"]
mod pair;
#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../v2/peer.rs"]
mod peer;
#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../v2/wire.rs"]
mod wire;

mod close;
mod disturbed;
mod errors;
mod limits;
mod power;
mod scenario;
mod steps;
