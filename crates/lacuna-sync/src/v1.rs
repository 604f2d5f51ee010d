//! Wire v1, spoken both ways: Longhorn's ssync protocol, one image over a few HTTP connections.

mod answer;
mod bodies;
mod client;
mod connection;
mod contents;
mod handler;
mod holes;
mod ledger;
mod opened;
mod sender;
mod server;
mod session;
mod store;

pub use client::{SyncOptions, SyncStats, sync};
pub use lacuna_wire::v1::DEFAULT_PORT;
pub(crate) use server::{Activity, Ended, Place, Session, accept};
pub use server::{ServeOptions, ServeStats, serve};
