//! What is read from the wire and written to it.

mod fuzzed;
mod hello;
mod recordings;
mod smoke;
mod v2;
