//! Wire v1: the HTTP API of Longhorn's `ssync` (sparse-tools, `sparse/rest` and `sparse/client`).
//!
//! HTTP/1.1 over plain TCP; a server serves one file and stops after `close`.
//!
//! | request | query | body | 200 answer |
//! | --- | --- | --- | --- |
//! | `GET open` | `begin=0&directIO=BOOL&end=SIZE` | | JSON `true` or `false`: did the file exist |
//! | `GET getChecksum` | `begin&end` | | JSON: base64 of the range's SHA-512, or `null` |
//! | `POST writeData` | `begin&end` | the bytes | empty |
//! | `POST sendHole` | `begin&end` | | empty |
//! | `GET getRecordedMetadata` | | | the `.checksum` file beside the image |
//! | `POST close` | `checksum&checksumMethod` | | empty |
//!
//! A server turns method and target into a [`Request`], or into the [`Refusal`] to send; a client
//! turns a [`Request`] into method and target. the `encode_` and
//! `decode_` functions make and read the bodies of 200 answers.
//!
//! Callers of the original match its error texts, so texts and status codes are the original's,
//! with exceptions where the original does harm: what is too large (413, 414), a negative, reversed or overflowing range
//! is 400 (the original: 500, or 200), so is a body that does not fit its range (200), and an
//! `open` that does not begin at 0 (200).

mod answers;
mod go;
mod interval;
mod query;
mod refusal;
mod request;

pub use crate::Error;
pub use answers::{decode_checksum, decode_existed, encode_checksum, encode_existed};
pub use interval::{Interval, check_body};
pub use refusal::Refusal;
pub use request::{Method, Request};

/// What the path of every request begins with.
pub const PREFIX: &str = "/v1-ssync/";

/// The port that a server listens on and a client dials when none is given.
pub const DEFAULT_PORT: u16 = 5000;

/// The longest body of a `writeData`, in bytes. The original's client sends at most 2 MiB.
pub const MAX_BODY: usize = 4 << 20;

/// The longest request target (path and query), in bytes.
pub const MAX_TARGET: usize = 8 << 10;

/// The longest `checksum` and the longest `checksumMethod` of a `close`, in bytes before
/// percent-encoding.
pub const MAX_VALUE: usize = 256;

/// The unit, in bytes, that the size of an image must be a multiple of for direct I/O, and that
/// the end of its last extent is rounded up to.
pub const BLOCK: u64 = 4096;

/// The content type of an answer with a body.
pub const JSON: &str = "application/json";
