//! Version 2, lacuna's own protocol: one session over one stream makes one image equal to another.
//! `docs/protocol.md` has it to the byte.

mod chunks;
mod client;
mod frames;
mod handshake;
mod kinds;
mod link;
mod names;
mod parts;
mod server;
mod session;
mod source;
mod target;

pub use client::{Remote, SyncOptions, pull, push};
pub use link::{Alias, LinkOptions};
pub use server::{ServeOptions, Served, serve};
pub use session::{Failure, Landing, receive, send};
pub use source::{Sent, SourceOptions};
pub use target::{Received, TargetOptions};
