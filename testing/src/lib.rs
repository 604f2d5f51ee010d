//! What the tests of lacuna stand on: real filesystems that can lose power, and files whose bytes
//! and kinds are known beforehand.
//!
//! - [`mount`]: ext4, XFS and btrfs on a loop device and tmpfs, gone again when dropped.
//! - [`pattern`]: a file as a list of blocks, the slow and obvious oracle for everything that reads
//!   or writes images. It shares no code with lacuna.
//! - [`replica`]: replica directories with all that Longhorn leaves in them.
//!
//! What a machine cannot do is skipped with a line on standard error, see [`skip`].

mod host;
pub mod mount;
pub mod pattern;
pub mod replica;
mod steps;

pub use host::{skip, tool};
pub use steps::Steps;
