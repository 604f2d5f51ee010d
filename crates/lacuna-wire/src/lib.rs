//! The wire formats of lacuna as pure code: bytes in, messages out.
//!
//! Nothing here opens a socket or a file or looks at a clock, and no input makes it panic. What a
//! peer sends is held to limits when it is read, and what is sent to it is held to the same limits
//! when it is written.
//!
//! - [`v1`]: the HTTP API of Longhorn's `ssync`.
//! - Everything else: version 2, lacuna's own, as `docs/protocol.md` has it to the byte. Each side begins
//!   with a hello ([`ClientHello`], [`ServerHello`]); then come frames, each a [`Header`] and the payload
//!   of a [`Message`].

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

mod codec;
pub mod codes;
mod error;
mod frame;
mod hello;
mod message;
mod runs;
mod token;
pub mod v1;

pub use error::Error;
pub use frame::{HEADER, Header, PAYLOAD_MAX};
pub use hello::{ClientHello, Dry, MAGIC, Role, ServerHello, VERSION, hello_length};
pub use message::{
    Accept, Answer, Answered, Ask, Checked, DIGEST, Done, End, Kinds, Looked, Message, Offer,
    Planned, Verb, WORDS_MAX, Wanted, types,
};
pub use runs::{Kind, RUNS_MAX, Run, Runs};
pub use token::Token;
