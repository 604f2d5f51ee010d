//! The commands as a user runs them: real processes, real files, real sockets.

mod common;
mod map;
mod remedies;
mod serve;
mod ssync;
mod streams;
mod sync;
