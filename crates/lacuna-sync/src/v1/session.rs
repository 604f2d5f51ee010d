//! Who has the image open: one client at a time.
//!
//! The protocol does not say which client a request comes from. Ours says so in a header; of others,
//! whoever sends no header is taken for the one that opened the image. So that this is true, nobody
//! else may open it while a connection of that client is there, or one of its requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::OwnedSemaphorePermit;

use crate::error::{Error, Result};

/// The header in which our client says which session a request belongs to.
pub(super) const HEADER: &str = "lacuna-session";

/// A connection that was accepted. It is there for as long as it is open or a request on it is under
/// way.
pub(super) struct Line {
    closed: AtomicBool,
    /// Whoever calls over it was told that the image is another's.
    stranger: AtomicBool,
    _place: OwnedSemaphorePermit,
}

impl Line {
    pub(super) fn new(place: OwnedSemaphorePermit) -> Arc<Self> {
        let (closed, stranger) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { closed, stranger, _place: place })
    }

    /// The connection has ended; a request may go on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
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

/// Why a client may not open the image yet.
pub(super) enum Busy {
    /// Another has it, and is connected.
    Connected,
    /// Another had it, whose last requests are not through.
    Leaving,
}

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
    fn is_there(&self, line: &Arc<Line>) -> Option<Busy> {
        let others = self.lines.iter().filter(|known| known.as_ptr() != Arc::as_ptr(line));
        let mut there = others.filter_map(Weak::upgrade).peekable();
        there.peek()?;
        match there.any(|other| !other.closed.load(Ordering::SeqCst)) {
            true => Some(Busy::Connected),
            false => Some(Busy::Leaving),
        }
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
    /// While another client has it.
    pub(super) fn claim(&self, caller: &Caller) -> Result<Claim, Busy> {
        let mut held = self.held();
        if let Some(before) = held.as_mut() {
            if before.session.is_some() && before.session == caller.session {
                before.adds(&caller.line);
                return Ok(Claim::Kept);
            }
            if let Some(busy) = before.is_there(&caller.line) {
                caller.line.stranger.store(true, Ordering::SeqCst);
                return Err(busy);
            }
        }
        caller.line.stranger.store(false, Ordering::SeqCst);
        Ok(Claim::Taken(held.replace(Held::by(caller))))
    }

    /// The caller has opened it: whatever became of an earlier try of the same client.
    pub(super) fn confirm(&self, caller: &Caller) {
        self.held().get_or_insert_with(|| Held::by(caller));
    }

    /// The caller could not open it after all.
    pub(super) fn give_back(&self, claim: Claim) {
        if let Claim::Taken(before) = claim {
            *self.held() = before;
        }
    }

    /// Lets a request of the client that has the image pass. When nobody has it, only `close` does,
    /// which `closes`.
    ///
    /// # Errors
    ///
    /// [`Error::State`] for all others.
    pub(super) fn admit(&self, caller: &Caller, closes: bool) -> Result<()> {
        let stranger = caller.line.stranger.load(Ordering::SeqCst);
        match self.held().as_mut() {
            Some(held) if stranger || held.session != caller.session => Err(busy()),
            Some(held) => {
                held.adds(&caller.line);
                Ok(())
            }
            None if closes => Ok(()),
            None => Err(not_open()),
        }
    }

    /// A client that looks at the metadata has not begun: the one that has the image did so before.
    pub(super) fn looked_at_by(&self, caller: &Caller) {
        if let Some(held) = self.held().as_ref()
            && (held.session.is_none() || held.session != caller.session)
            && !held.lines.iter().any(|known| known.as_ptr() == Arc::as_ptr(&caller.line))
        {
            caller.line.stranger.store(true, Ordering::SeqCst);
        }
    }
}

/// The error of a client that is not the one that has the image.
pub(super) fn busy() -> Error {
    Error::State("another client has the image open")
}

/// The error of a request that needs an `open` before it.
pub(super) fn not_open() -> Error {
    Error::State("the image is not open: send open first")
}

/// The error of a request that comes after `close`.
pub(super) fn closed() -> Error {
    Error::State("the image is closed")
}
