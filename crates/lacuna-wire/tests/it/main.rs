//! What is read from the wire and written to it.

mod fuzzed;
mod recordings;
mod smoke;
mod v2;
