//! Who has the image open: one client at a time.
//!
//! The protocol does not say which client a request comes from. Ours says so in a header; of others,
//! whoever sends no header is taken for the one that opened the image. So that this is true, nobody
//! else may open it while a connection of that client is there, or one of its requests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::OwnedSemaphorePermit;

use crate::error::{Error, Result};

/// The header in which our client says which session a request belongs to.
pub(super) const HEADER: &str = "lacuna-session";

/// A connection that was accepted. It is there for as long as it is open or a request on it is under
/// way.
pub(super) struct Line {
    _place: OwnedSemaphorePermit,
}

impl Line {
    pub(super) fn new(place: OwnedSemaphorePermit) -> Arc<Self> {
        Arc::new(Self { _place: place })
    }
}

/// Where a request comes from.
pub(super) struct Caller {
    pub(super) line: Arc<Line>,
    /// What its header says.
    pub(super) session: Option<Vec<u8>>,
}

/// The client that has the image open, if any.
#[derive(Default)]
pub(super) struct Holder(Mutex<Option<Held>>);

/// That a client may open the image.
pub(super) enum Claim {
    /// It has it already.
    Kept,
    /// From somebody who is gone, or from nobody.
    Taken(Option<Held>),
}

/// What is known of a client that has the image open.
pub(super) struct Held {
    session: Option<Vec<u8>>,
    lines: Vec<Weak<Line>>,
}

impl Held {
    fn by(caller: &Caller) -> Self {
        Self { session: caller.session.clone(), lines: vec![Arc::downgrade(&caller.line)] }
    }

    fn adds(&mut self, line: &Arc<Line>) {
        self.lines.retain(|known| known.strong_count() > 0);
        if !self.lines.iter().any(|known| known.as_ptr() == Arc::as_ptr(line)) {
            self.lines.push(Arc::downgrade(line));
        }
    }

    /// Whether it is still there, on any line but this.
    fn is_there(&self, line: &Arc<Line>) -> bool {
        let other = |known: &&Weak<Line>| known.as_ptr() != Arc::as_ptr(line);
        self.lines.iter().filter(other).any(|known| known.strong_count() > 0)
    }
}

impl Holder {
    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The caller is to have the image from here on.
    ///
    /// # Errors
    ///
    /// [`Error::State`] while another client has it.
    pub(super) fn claim(&self, caller: &Caller) -> Result<Claim> {
        let mut held = self.held();
        if let Some(before) = held.as_mut() {
            if before.session.is_some() && before.session == caller.session {
                before.adds(&caller.line);
                return Ok(Claim::Kept);
            }
            if before.is_there(&caller.line) {
                return Err(busy());
            }
        }
        Ok(Claim::Taken(held.replace(Held::by(caller))))
    }

    /// The caller could not open it after all.
    pub(super) fn give_back(&self, claim: Claim) {
        if let Claim::Taken(before) = claim {
            *self.held() = before;
        }
    }

    /// Lets a request of the client that has the image pass, or any when nobody has it.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when it comes from another.
    pub(super) fn admit(&self, caller: &Caller) -> Result<()> {
        match self.held().as_mut() {
            Some(held) if held.session != caller.session => Err(busy()),
            Some(held) => {
                held.adds(&caller.line);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn busy() -> Error {
    Error::State("another client has the image open")
}
