//! Cutting two layouts into pieces of work.

use std::sync::mpsc::SyncSender;

use super::frontier::Frontier;
use crate::batch::{BATCH_BYTES, Batch};
use crate::extent::Kind;
use crate::layout::Pair;

/// Longest range that is punched or zeroed in one call, so that cancelling does not wait for long.
const CLEAR: u64 = 1 << 30;

/// What is to be done with a few neighbouring ranges. In each pair, `left` is what the target is to
/// have and `right` what it has.
pub(super) type Job = Batch<Pair>;

/// Packs pairs into jobs and hands them out.
pub(super) struct JobBuilder<'a> {
    frontier: &'a Frontier,
    sender: SyncSender<Job>,
    /// All before this was done by an earlier session.
    resumed: u64,
    job: Job,
}

impl<'a> JobBuilder<'a> {
    /// Leaves out what lies before the frontier.
    pub(super) fn new(frontier: &'a Frontier, sender: SyncSender<Job>) -> Self {
        Self { frontier, sender, resumed: frontier.reached(), job: Job::new() }
    }

    /// Takes the next pair; `wanted` is its left kind as the target can hold it. False when nobody
    /// takes jobs any more.
    pub(super) fn add(&mut self, pair: Pair, wanted: Kind) -> bool {
        let range = pair.range.split_at(self.resumed).1;
        let pair = Pair { range, left: wanted, ..pair };
        if range.is_empty() || (pair.left != Kind::Data && pair.left == pair.right) {
            if self.job.ranges().is_empty() {
                self.frontier.walked(pair.range.end());
            }
            return true;
        }
        let length = if pair.left == Kind::Data { BATCH_BYTES } else { CLEAR };
        range.pieces(length).all(|range| match self.job.push(Pair { range, ..pair }) {
            Some(full) => self.hand_out(full),
            None => true,
        })
    }

    fn hand_out(&mut self, job: Job) -> bool {
        self.frontier.begun(&job);
        self.sender.send(job).is_ok()
    }

    /// Hands out what is left. Dropping the builder tells the workers that no more comes.
    pub(super) fn finish(mut self) {
        let last = self.job.take();
        if !last.ranges().is_empty() {
            self.hand_out(last);
        }
    }
}
