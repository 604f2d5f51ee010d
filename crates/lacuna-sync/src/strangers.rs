//! Clients that have not said yet who they are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// So many at the same time: the oldest makes way for a new one.
pub(crate) const STRANGERS: usize = 64;

/// All of them, the oldest first.
pub(crate) struct Strangers {
    limit: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    /// Who drops the sender shows the stranger out.
    all: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// One of them, for as long as it is one.
pub(crate) struct Stranger {
    strangers: Arc<Strangers>,
    number: u64,
    shown_out: oneshot::Receiver<()>,
    since: Instant,
}

impl Strangers {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, waiting: Mutex::default() })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, for whom the oldest may have to go.
    pub(crate) fn enter(self: &Arc<Self>) -> Stranger {
        let (stays, shown_out) = oneshot::channel();
        let mut waiting = self.waiting();
        if waiting.all.len() >= self.limit {
            waiting.all.pop_front();
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.all.push_back((number, stays));
        drop(waiting);
        Stranger { strangers: self.clone(), number, shown_out, since: Instant::now() }
    }
}

impl Stranger {
    /// What `greeting` comes to, unless another stranger needs the place before.
    pub(crate) async fn unless_shown_out<T>(
        &mut self,
        greeting: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            done = greeting => done,
            _ = &mut self.shown_out => Err(Error::Silent { after: self.since.elapsed() }),
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.strangers.waiting().all.retain(|(number, _)| *number != self.number);
    }
}
