//! What is left of a copy, a fold, a prune or a dig that fails, is stopped, is killed, or loses power at
//! any of its steps.
//!
//! A program of its own, because the points at which it interferes belong to the whole process.

#[path = "../it/content.rs"]
mod content;

mod chain;
mod changed;
mod checksum;
mod dig;
mod errors;
mod fold;
mod interrupted;
mod killed;
mod medium;
mod opened;
mod order;
mod partials;
#[path = "../it/paths.rs"]
mod paths;
mod points;
mod power;
mod prune;
mod reflink;
mod resume;
mod scenario;
mod squash;
mod stopped;
mod taken_back;
