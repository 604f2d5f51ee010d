//! Work on several threads whose results come in the order of the work.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Jobs that may be ahead of the oldest one under way, for each thread.
const AHEAD: usize = 4;

/// Does `work` for each of `jobs` on `threads` threads, each with a state of its own that `state`
/// makes, and hands the results to `take` in the order of the jobs.
///
/// # Errors
///
/// The first error of the jobs, the work or `take`; nothing more is begun after it.
pub fn in_order<J: Send, S, R: Send, E: Send>(
    threads: usize,
    jobs: impl Iterator<Item = Result<J, E>> + Send,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, J) -> Result<R, E> + Sync,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let threads = threads.max(1);
    // Never full of more than what is ahead.
    let (sender, receiver) = channel();
    let (receiver, results) = (Mutex::new(receiver), Results::new(threads * AHEAD));
    std::thread::scope(|scope| {
        let _stop = StopOnPanic(&results);
        for _ in 0..threads {
            scope.spawn(|| results.fill(&receiver, &state, &work));
        }
        scope.spawn(|| results.hand_out(jobs, sender));
        while let Some(result) = results.take() {
            if let Err(error) = result.and_then(&mut take) {
                results.stop();
                return Err(error);
            }
        }
        Ok(())
    })
}

/// Results that wait for those before them.
struct Results<R, E> {
    state: Mutex<State<R, E>>,
    /// The next result is there, or never will be.
    ready: Condvar,
    /// Another job may begin, or none will.
    room: Condvar,
    ahead: u64,
}

struct State<R, E> {
    waiting: BTreeMap<u64, Result<R, E>>,
    /// The number of the next result to be taken.
    next: u64,
    /// How many there are, once that is known.
    count: Option<u64>,
    stopped: bool,
}

impl<R, E> Results<R, E> {
    fn new(ahead: usize) -> Self {
        let state = State { waiting: BTreeMap::new(), next: 0, count: None, stopped: false };
        let (ready, room) = (Condvar::new(), Condvar::new());
        Self { state: Mutex::new(state), ready, room, ahead: ahead as u64 }
    }

    /// Does `work` until there are no more jobs.
    fn fill<J, S>(
        &self,
        jobs: &Mutex<Receiver<(u64, J)>>,
        state: impl Fn() -> S,
        work: impl Fn(&mut S, J) -> Result<R, E>,
    ) {
        let _stop = StopOnPanic(self);
        let mut state = state();
        let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        while let Ok((number, job)) = next() {
            if self.is_stopped() {
                return;
            }
            self.put(number, work(&mut state, job));
        }
    }

    /// Numbers the jobs and sends them, up to the first error. Dropping the sender tells the workers
    /// that no more comes.
    fn hand_out<J>(&self, jobs: impl Iterator<Item = Result<J, E>>, sender: Sender<(u64, J)>) {
        let _stop = StopOnPanic(self);
        let mut number = 0;
        for job in jobs {
            let sent = match job {
                Ok(job) => self.wait_for_room(number) && sender.send((number, job)).is_ok(),
                Err(error) => {
                    self.put(number, Err(error));
                    false
                }
            };
            if !sent {
                break;
            }
            number += 1;
        }
        self.end(number);
    }

    fn state(&self) -> MutexGuard<'_, State<R, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, number: u64, result: Result<R, E>) {
        let mut state = self.state();
        state.waiting.insert(number, result);
        if number == state.next {
            drop(state);
            self.ready.notify_one();
        }
    }

    fn end(&self, count: u64) {
        let mut state = self.state();
        state.count = Some(count.max(state.last()));
        drop(state);
        self.ready.notify_one();
    }

    fn stop(&self) {
        self.state().stopped = true;
        self.ready.notify_one();
        self.room.notify_one();
    }

    fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Waits until the job `number` is not too far ahead; false when nobody takes results any more.
    fn wait_for_room(&self, number: u64) -> bool {
        let full = |state: &mut State<R, E>| !state.stopped && number >= state.next + self.ahead;
        let state = self.room.wait_while(self.state(), full);
        !state.unwrap_or_else(PoisonError::into_inner).stopped
    }

    /// The next result in order; `None` after the last, and when one will never come.
    fn take(&self) -> Option<Result<R, E>> {
        let missing = |state: &mut State<R, E>| {
            let more = state.count.is_none_or(|count| state.next < count);
            !state.stopped && !state.waiting.contains_key(&state.next) && more
        };
        let state = self.ready.wait_while(self.state(), missing);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let next = state.next;
        let result = state.waiting.remove(&next)?;
        state.next += 1;
        drop(state);
        self.room.notify_one();
        Some(result)
    }
}

impl<R, E> State<R, E> {
    /// One more than the last result that is there: that of an error has no job.
    fn last(&self) -> u64 {
        self.waiting.last_key_value().map_or(0, |(number, _)| number + 1)
    }
}

/// Nobody waits for a thread that has panicked: the panic goes on in the caller of [`in_order`].
struct StopOnPanic<'a, R, E>(&'a Results<R, E>);

impl<R, E> Drop for StopOnPanic<'_, R, E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::error::Error;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        for threads in [0, 1, 3, 8] {
            let mut seen = vec![];
            let jobs = (0..500_u64).map(Ok::<_, Error>);
            let work = |buf: &mut Vec<u8>, job: u64| {
                buf.push(0);
                if job.is_multiple_of(7) {
                    std::thread::yield_now();
                }
                Ok(job * 2)
            };
            let take = |result| {
                seen.push(result);
                Ok(())
            };
            in_order(threads, jobs, Vec::new, work, take).unwrap();
            assert_eq!(seen, (0..500).map(|job| job * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_anywhere_ends_all_of_it() {
        let begun = AtomicU64::new(0);
        let work = |(): &mut (), job: u64| {
            begun.fetch_add(1, Ordering::Relaxed);
            if job == 100 { Err(Error::Cancelled) } else { Ok(job) }
        };
        let mut taken = 0;
        let take = |_| {
            taken += 1;
            Ok(())
        };
        let ended = in_order(4, (0..1_000_000).map(Ok), || (), work, take);
        assert!(matches!(ended, Err(Error::Cancelled)));
        assert_eq!(taken, 100);
        assert!(begun.load(Ordering::Relaxed) < 1000);

        let jobs =
            (0..10).map(|job| if job == 5 { Err(Error::Cancelled) } else { Ok::<_, Error>(job) });
        let mut taken = 0;
        let take = |_: i32| {
            taken += 1;
            Ok(())
        };
        let ended = in_order(4, jobs, || (), |(), job| Ok(job), take);
        assert!(matches!(ended, Err(Error::Cancelled)));
        assert_eq!(taken, 5);

        let take = |job| if job == 3 { Err(Error::Cancelled) } else { Ok(()) };
        let ended = in_order(4, (0..1_000_000).map(Ok), || (), |(), job| Ok(job), take);
        assert!(matches!(ended, Err(Error::Cancelled)));
    }

    #[test]
    fn a_panic_anywhere_is_passed_on() {
        let panics = |jobs: bool, work: bool, take: bool| {
            let run = || {
                let jobs = (0..1000)
                    .map(|job| if jobs && job == 50 { panic!() } else { Ok::<_, Error>(job) });
                let work = |(): &mut (), job| if work && job >= 50 { panic!() } else { Ok(job) };
                let take = |job| if take && job == 50 { panic!() } else { Ok(()) };
                in_order(2, jobs, || (), work, take)
            };
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
        };
        assert!(panics(true, false, false));
        assert!(panics(false, true, false));
        assert!(panics(false, false, true));
        assert!(!panics(false, false, false));
    }
}
