//! Trying again what failed, and what is said of that.

use std::time::Duration;

use crate::error::Error;

/// The tries of one thing.
pub(crate) struct Tries {
    made: u32,
    most: u32,
    pause: Duration,
    longest: Duration,
}

impl Tries {
    /// One and `more`, with pauses from `first` on, each twice as long as the one before up to `longest`.
    pub(crate) fn new(more: u32, first: Duration, longest: Duration) -> Self {
        Self { made: 0, most: more.saturating_add(1), pause: first, longest }
    }

    /// Another one begins.
    pub(crate) fn begin(&mut self) {
        self.made += 1;
    }

    /// Whether there was one before.
    pub(crate) fn is_again(&self) -> bool {
        self.made > 1
    }

    /// How long to wait for the next one. People are told, and `why` there is one, and what is `kept`
    /// until then. `None` when there is none.
    pub(crate) fn pause(&mut self, why: &str, kept: Option<String>) -> Option<Duration> {
        if self.made >= self.most {
            return None;
        }
        let pause = self.pause;
        let (next, most, seconds) = (self.made + 1, self.most, pause.as_secs());
        let kept = kept.map(|kept| format!("; {kept}")).unwrap_or_default();
        tracing::warn!("{why}{kept}; try {next} of {most} in {seconds} s");
        self.pause = self.longest.min(pause * 2);
        Some(pause)
    }

    /// The error that the last one ended in, with how many there were.
    pub(crate) fn last(&self, error: Error) -> Error {
        match self.is_again() && !error.is_cancelled() {
            true => Error::Tried { times: self.made, source: Box::new(error) },
            false => error,
        }
    }
}
