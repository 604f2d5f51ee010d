//! Clients that have not said yet who they are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// So many at the same time: the oldest makes way for a new one.
pub(crate) const STRANGERS: usize = 64;

/// All of them, the oldest first.
pub(crate) struct Strangers {
    limit: usize,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    next: u64,
    /// Who drops the sender shows the stranger out.
    all: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// One of them, for as long as it is one.
pub(crate) struct Stranger {
    strangers: Arc<Strangers>,
    number: u64,
    shown_out: oneshot::Receiver<()>,
}

impl Strangers {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, inside: Mutex::default() })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, for whom the oldest may have to go.
    pub(crate) fn enter(self: &Arc<Self>) -> Stranger {
        let (stays, shown_out) = oneshot::channel();
        let mut inside = self.inside();
        if inside.all.len() >= self.limit {
            inside.all.pop_front();
        }
        let number = inside.next;
        inside.next += 1;
        inside.all.push_back((number, stays));
        drop(inside);
        Stranger { strangers: self.clone(), number, shown_out }
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
            _ = &mut self.shown_out => Err(Error::ShownOut { strangers: self.strangers.limit }),
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.strangers.inside().all.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::block_on;

    #[test]
    fn whoever_is_shown_out_has_made_way() {
        let strangers = Strangers::new(1);
        let mut first = strangers.enter();
        let _second = strangers.enter();
        let shown_out = block_on(first.unless_shown_out(std::future::pending::<Result<()>>()));
        let words = lacuna::describe(&shown_out.unwrap_err());
        assert_eq!(words, "made way for others: 1 connections had not said hello");
    }
}
