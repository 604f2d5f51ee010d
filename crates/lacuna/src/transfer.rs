//! Bringing ranges of a source into a target, on several threads: read, compare, write or clone, clear.

mod frontier;
mod jobs;
mod worker;

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::layout::{LayoutOrigin, Pair};
use crate::progress::{Cancel, Progress};
use crate::reflink::{self, Reflink};
use crate::settle::held_as;
use crate::source::Source;
use crate::target::Target;
use frontier::{Checkpoint, Frontier};
use jobs::{Job, JobBuilder};
use worker::Worker;

/// How to bring ranges over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransferOptions {
    /// Ranges that are brought over at the same time, at least 1.
    pub(crate) threads: usize,
    /// Whether space is shared instead of copied.
    pub(crate) reflink: Reflink,
    /// All before this is there already.
    pub(crate) resumed_bytes: u64,
}

/// What the threads of one transfer share.
pub(crate) struct Transfer<'a> {
    source: &'a Source,
    target: &'a Target,
    options: TransferOptions,
    /// Whether the filesystem can share space between the two.
    clones: bool,
    frontier: Frontier,
    checkpoint: Mutex<Checkpoint>,
    failure: Mutex<Option<Error>>,
    progress: &'a Progress,
    cancel: &'a Cancel,
}

impl<'a> Transfer<'a> {
    /// Nothing is brought over yet.
    pub(crate) fn new(
        source: &'a Source,
        target: &'a Target,
        options: TransferOptions,
        progress: &'a Progress,
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            source,
            target,
            options,
            clones: options.reflink != Reflink::Never
                && source.all(|image| reflink::is_possible(image, target.image())),
            frontier: Frontier::new(options.resumed_bytes),
            checkpoint: Mutex::new(Checkpoint::default()),
            failure: Mutex::new(None),
            progress,
            cancel,
        }
    }

    /// Makes the target, whose layout comes from `origin`, have what the source has in the range of
    /// each pair: its left kind, and its bytes. Where the right kind is `Data` as well, only the
    /// blocks that differ are written.
    pub(crate) fn run(
        &self,
        origin: LayoutOrigin,
        pairs: impl Iterator<Item = Result<Pair>>,
    ) -> Result<()> {
        let (sender, receiver) = sync_channel(self.options.threads);
        let receiver = Arc::new(Mutex::new(receiver));
        std::thread::scope(|scope| {
            for _ in 0..self.options.threads {
                let receiver = receiver.clone();
                scope.spawn(move || self.work(Worker::new(self, origin), &receiver));
            }
            // Goes with the last worker, whatever ends it.
            drop(receiver);
            let cloned_in = self.clones.then(|| self.target.image().allocation_unit());
            let mut builder = JobBuilder::new(&self.frontier, sender, cloned_in);
            let mut add = |pair: Result<Pair>| {
                let pair = pair?;
                if pair.left.is_allocated() {
                    let resumed = pair.range.split_at(self.options.resumed_bytes).0;
                    self.progress.done_bytes.add(resumed.len());
                }
                self.check()?;
                Ok(builder.add(pair, held_as(pair.left, origin)))
            };
            for pair in pairs {
                match add(pair) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => return self.fail(error),
                }
            }
            builder.finish();
        });
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Everything before this offset has been brought over.
    pub(crate) fn reached(&self) -> u64 {
        self.frontier.reached()
    }

    /// Takes jobs until there are none. After a failure they are only taken off the queue, so that
    /// the walk does not block.
    fn work(&self, mut worker: Worker<'_>, jobs: &Mutex<Receiver<Job>>) {
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return };
            match self.check().and_then(|()| worker.run(&job)) {
                Ok(()) => self.frontier.finished(&job),
                Err(error) => self.fail(error),
            }
        }
    }

    /// Whether to go on. The error of a failed thread stays with it; here it is `Cancelled`.
    fn check(&self) -> Result<()> {
        self.cancel.check()?;
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }

    /// Keeps the first error.
    fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}
