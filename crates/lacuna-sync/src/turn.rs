//! Whose turn it is at the one image of a server that speaks two protocols.

use std::sync::{Mutex, PoisonError};

/// The version that has the image, as often as it was let in.
#[derive(Debug, Default)]
pub(crate) struct Turn(Mutex<(u16, usize)>);

impl Turn {
    /// Lets a session of `version` in. Those of version 1, of which each is one of many connections, share
    /// the image; one of version 2 has it alone.
    pub(crate) fn take(&self, version: u16) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = held.1 == 0 || (held.0, version) == (1, 1);
        if is_free {
            *held = (version, held.1 + 1);
        }
        is_free
    }

    /// For each time that [`take`](Self::take) let one in, unless nobody is to follow.
    pub(crate) fn give_back(&self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.1 = held.1.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_at_a_time_is_let_in() {
        let turn = Turn::default();
        assert!(turn.take(2) && !turn.take(2) && !turn.take(1));
        turn.give_back();
        assert!(turn.take(1) && turn.take(1) && !turn.take(2));
        turn.give_back();
        assert!(!turn.take(2));
        turn.give_back();
        assert!(turn.take(2));
    }
}
