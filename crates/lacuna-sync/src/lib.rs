//! Sync sessions between a client and a server over a network.
//!
//! [`v1`] speaks Longhorn's ssync protocol, as client and as server. The functions here block; the
//! network runs on threads of their own.

mod error;
mod runtime;
mod traffic;
pub mod v1;

pub use error::{Error, Result};
