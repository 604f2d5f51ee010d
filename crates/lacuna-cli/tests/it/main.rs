//! The commands as a user runs them: real processes, real files, real sockets.

mod common;
mod diff;
mod dig;
mod export;
mod fold;
mod fold_stopped;
mod hash;
mod layers;
mod map;
mod partials;
mod prune;
mod readme;
mod remedies;
mod remote;
mod remote_stopped;
mod resolving;
mod serve;
mod served;
mod sfold;
mod ssh;
mod ssync;
mod streams;
mod sync;
mod sync_refused;
mod sync_stopped;
mod tls;
