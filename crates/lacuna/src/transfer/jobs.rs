//! Cutting two layouts into pieces of work.

use std::sync::mpsc::SyncSender;

use super::frontier::Frontier;
use crate::batch::{BATCH_BYTES, Batch};
use crate::extent::Kind;
use crate::image::LONGEST_CLEAR;
use crate::layout::Pair;
use crate::reflink;

/// What is to be done with a few neighbouring ranges. In each pair, `left` is what the target is to
/// have and `right` what it has.
pub(super) type Job = Batch<Pair>;

/// Packs pairs into jobs and hands them out.
pub(super) struct JobBuilder<'a> {
    frontier: &'a Frontier,
    sender: SyncSender<Job>,
    /// All before this was done by an earlier session.
    resumed: u64,
    /// The unit in which long runs are cloned, if they are.
    cloned_in: Option<u64>,
    job: Job,
}

impl<'a> JobBuilder<'a> {
    /// Leaves out what lies before the frontier.
    pub(super) fn new(
        frontier: &'a Frontier,
        sender: SyncSender<Job>,
        cloned_in: Option<u64>,
    ) -> Self {
        Self { frontier, sender, resumed: frontier.reached(), cloned_in, job: Job::new() }
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
        let (clonable, rest) = match self.cloned_in {
            // A partial tail cannot be cloned into the middle of a file.
            Some(unit) if is_clonable(&pair) => range.split_at(range.end() & !(unit - 1)),
            _ => range.split_at(range.start()),
        };
        self.clone(Pair { range: clonable, ..pair }) && self.pack(Pair { range: rest, ..pair })
    }

    /// Long runs go alone.
    fn clone(&mut self, pair: Pair) -> bool {
        pair.range.pieces(reflink::LONGEST).all(|range| {
            let mut alone = Job::new();
            let before = self.job.take();
            // An empty batch has room.
            drop(alone.push(Pair { range, ..pair }));
            (before.ranges().is_empty() || self.hand_out(before)) && self.hand_out(alone)
        })
    }

    fn pack(&mut self, pair: Pair) -> bool {
        let length = if pair.left == Kind::Data { BATCH_BYTES } else { LONGEST_CLEAR };
        pair.range.pieces(length).all(|range| match self.job.push(Pair { range, ..pair }) {
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

/// Whether `pair` is data that the target lacks, and long enough to be worth a clone.
pub(super) fn is_clonable(pair: &Pair) -> bool {
    pair.left == Kind::Data && pair.right != Kind::Data && pair.range.len() >= reflink::SHORTEST
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;
    use crate::extent::{BLOCK, Range};

    fn range(start: u64, end: u64) -> Range {
        Range::new(start * BLOCK, end * BLOCK).unwrap()
    }

    /// Adds blocks that the target lacks, or that are a hole in both.
    fn add(builder: &mut JobBuilder<'_>, start: u64, end: u64, kind: Kind) {
        let pair = Pair { range: range(start, end), left: kind, right: Kind::Hole };
        assert!(builder.add(pair, kind));
    }

    fn ranges(jobs: &Receiver<Job>) -> Vec<Vec<Range>> {
        let ranges = |job: Job| job.ranges().iter().map(|pair| pair.range).collect();
        jobs.try_iter().map(ranges).collect()
    }

    #[test]
    fn what_waits_to_be_handed_out_is_not_reached() {
        let frontier = Frontier::new(0);
        let (sender, jobs) = sync_channel(8);
        let mut builder = JobBuilder::new(&frontier, sender, None);
        add(&mut builder, 0, 4, Kind::Hole);
        assert_eq!(frontier.reached(), 4 * BLOCK);
        add(&mut builder, 4, 6, Kind::Data);
        add(&mut builder, 6, 100, Kind::Hole);
        assert_eq!(frontier.reached(), 4 * BLOCK, "neither done nor begun");
        add(&mut builder, 100, 101, Kind::Data);
        assert_eq!(frontier.reached(), 4 * BLOCK, "begun");
        frontier.finished(&jobs.try_recv().unwrap());
        assert_eq!(frontier.reached(), 6 * BLOCK);
        builder.finish();
        assert_eq!(frontier.reached(), 100 * BLOCK);
        frontier.finished(&jobs.try_recv().unwrap());
        assert_eq!(frontier.reached(), 101 * BLOCK);
    }

    #[test]
    fn what_finishes_out_of_order_is_reached_in_order() {
        let frontier = Frontier::new(0);
        let (sender, jobs) = sync_channel(8);
        let mut builder = JobBuilder::new(&frontier, sender, None);
        for start in [0, 100, 200] {
            add(&mut builder, start, start + 1, Kind::Data);
        }
        builder.finish();
        let [first, second, third] = [(); 3].map(|()| jobs.try_recv().unwrap());
        frontier.finished(&third);
        assert_eq!(frontier.reached(), 0);
        frontier.finished(&first);
        assert_eq!(frontier.reached(), 100 * BLOCK);
        frontier.finished(&second);
        assert_eq!(frontier.reached(), 201 * BLOCK);
    }

    #[test]
    fn what_an_earlier_session_has_done_is_left_out() {
        let frontier = Frontier::new(5 * BLOCK);
        let (sender, jobs) = sync_channel(8);
        let mut builder = JobBuilder::new(&frontier, sender, None);
        add(&mut builder, 0, 2, Kind::Data);
        add(&mut builder, 2, 8, Kind::Data);
        add(&mut builder, 8, 9, Kind::Zero);
        builder.finish();
        assert_eq!(ranges(&jobs), [[range(5, 8), range(8, 9)]]);
    }
}
