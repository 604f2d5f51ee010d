//! Sparse disk images on this machine: their layout, reading and writing them with their holes kept,
//! digests, and copies that survive a crash.
//!
//! An [`Image`] is an open regular file or block device. Its [`Layout`] tells which ranges are
//! [`Data`](Kind::Data), [`Zero`](Kind::Zero) or [`Hole`](Kind::Hole); the three are never confused:
//! in a snapshot chain, a hole lets the parent's bytes show and zeros hide them.
//!
//! Everything here blocks and uses threads; nothing prints, reads the environment or exits.

mod aligned_buf;
pub mod batch;
mod beside;
mod blkdev;
pub mod chain;
pub mod checksum_file;
pub mod chunk;
pub mod copy;
pub mod diff;
pub mod dig;
pub mod digest;
mod direct;
mod directory_lock;
mod error;
mod extent;
mod extent_size;
mod failpoint;
pub mod fiemap;
mod filesystem;
mod flock;
pub mod fold;
pub mod hash;
mod image;
mod layer;
pub mod layout;
mod lease;
mod locked;
mod mark;
mod open;
pub mod ordered;
mod overlay;
mod page_cache;
mod partial;
pub mod partials;
mod progress;
pub mod prune;
pub mod receipt;
mod reflink;
pub mod seek_hole;
pub mod settle;
mod sharing;
mod source;
mod stamp;
mod stopped;
mod target;
mod transfer;

pub use aligned_buf::{AlignedBuf, BufPool, PooledBuf};
pub use error::{Error, Result, describe, system_words};
pub use extent::{BLOCK, Extent, Kind, KindBytes, MAX_OFFSET, Range};
pub use image::{Image, LONGEST_CLEAR};
pub use layout::{Layout, LayoutOptions, LayoutOrigin};
pub use open::{Access, ImageOptions, IoMode, Links};
pub use progress::{Cancel, Counter, Progress};
pub use reflink::Reflink;
pub use source::Source;
pub use stamp::{FileId, SourceStamp, Stamp};
pub use stopped::{Kept, Stopped};
pub use target::{LONGEST_NAME, Permissions, PlannedTarget, Target, TargetOptions};
