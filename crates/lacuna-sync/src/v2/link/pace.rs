//! Keeping to a rate.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Bytes that pass at a time when there is a limit to the rate.
const PACE: usize = 16 << 10;

/// The lowest rate, in bytes a second. At a lower one frames take longer than peers wait for them, and
/// what a connection holds back takes longer to leave it than anybody takes to call that a stall.
pub const LEAST_RATE: u64 = PACE as u64;

/// Keeps to a rate.
pub(super) struct Pace {
    rate: Option<NonZeroU64>,
    next: Instant,
}

impl Pace {
    pub(super) fn new(rate: Option<NonZeroU64>) -> Self {
        Self { rate, next: Instant::now() }
    }

    pub(super) fn part(&self, len: usize) -> usize {
        if self.rate.is_some() { len.min(PACE) } else { len }
    }

    pub(super) async fn wait(&self) {
        if self.rate.is_some() {
            sleep_until(self.next).await;
        }
    }

    pub(super) fn passed(&mut self, bytes: usize) {
        if let Some(rate) = self.rate {
            let takes = Duration::from_secs_f64(bytes as f64 / rate.get() as f64);
            self.next = self.next.max(Instant::now()) + takes;
        }
    }
}
