//! The wire formats of lacuna as pure code: bytes in, messages out.
//!
//! Nothing here opens a socket or a file or looks at a clock, and no input makes it panic. What a
//! peer sends is held to limits when it is read, and what is sent to it is held to the same limits
//! when it is written.
//!
//! - [`v1`]: the HTTP API of Longhorn's `ssync`.

#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod error;
pub mod v1;

pub use error::Error;
