//! Sessions of wire v1 that lose power, or a system call, at each of their steps.
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

mod close;
mod errors;
mod limits;
mod power;
mod scenario;
mod steps;
