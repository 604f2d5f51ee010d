//! Sync sessions between a client and a server over a network.
//!
//! [`v1`] speaks Longhorn's ssync protocol, as client and as server; [`v2`] is lacuna's own. The network
//! runs on a few threads, disks are read and written on others.

mod error;
mod front;
mod listener;
pub mod once;
pub mod replica;
mod resolve;
mod retry;
mod runtime;
mod strangers;
mod traffic;
mod turn;
pub mod v1;
pub mod v2;

pub use error::{Error, Refusal, Result, Unreached};
pub use listener::{listen, local_address};
