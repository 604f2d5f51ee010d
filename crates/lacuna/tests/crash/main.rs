//! What is left of a copy that fails, is stopped, or loses power at any of its steps.
//!
//! A program of its own, because the points at which it interferes belong to the whole process.

#[path = "../it/content.rs"]
mod content;

mod changed;
mod checksum;
mod errors;
mod medium;
mod points;
mod power;
mod resume;
mod scenario;
mod stopped;
