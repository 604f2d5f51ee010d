//! What a subcommand measured.

use std::fmt;
use std::time::Instant;

/// How long it took, and how many bytes went through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Seconds of wall time.
    pub(crate) seconds: f64,
    /// Bytes read, written, sent or punched, each once.
    pub(crate) bytes: u64,
}

impl Timing {
    /// The time since `start`, in which `bytes` were dealt with.
    pub(crate) fn since(start: Instant, bytes: u64) -> Self {
        Self { seconds: start.elapsed().as_secs_f64(), bytes }
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seconds={:.4} bytes={}", self.seconds, self.bytes)
    }
}
