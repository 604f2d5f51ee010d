//! Sessions.
pub mod v1;
