//! Peers that misbehave, and disks and sources that do.

mod disks;
mod hellos;
mod once;
mod patience;
mod retries;
mod rules;
mod told;
mod window;
