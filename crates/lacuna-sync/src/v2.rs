//! Version 2, lacuna's own protocol: one session over one stream makes one image equal to another.
//! `docs/protocol.md` has it to the byte.

mod call;
mod chunks;
mod client;
mod frames;
mod handshake;
mod host;
mod keeping;
mod kinds;
mod link;
mod names;
mod parts;
mod planning;
mod server;
mod session;
mod source;
mod stopped;
mod target;
mod transport;

pub use client::{Remote, SyncOptions, ask, plan_pull, plan_push, pull, push};
pub(crate) use handshake::{PATIENCE, hear, refuse};
pub(crate) use host::Host;
pub use host::{ServeOptions, Served};
pub use keeping::{Answered, Asked};
pub use lacuna_wire::{Dry, Role, Token, codes};
pub use link::{LEAST_RATE, LinkOptions};
pub use names::Images;
pub use server::{serve, serve_stdio};
pub use session::{Landing, Session, Synced};
pub use source::SourceOptions;
pub use stopped::Stopped;
pub use target::TargetOptions;
pub(crate) use transport::Stream;
pub use transport::{Identity, Reach};
