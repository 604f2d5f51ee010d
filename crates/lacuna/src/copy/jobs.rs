//! Cutting two layouts into pieces of work.

use std::sync::mpsc::SyncSender;

use super::frontier::Frontier;
use crate::extent::{Kind, Range};
use crate::layout::Pair;

/// The bytes that one job covers, at most, when there is something to read in it.
pub(super) const CHUNK: u64 = 1 << 20;

/// Extents that are further apart than this are read on their own.
const GAP: u64 = 64 << 10;

/// Extents in one job, at most.
const EXTENTS: usize = 1024;

/// Longest range that is punched or zeroed in one call, so that cancelling does not wait for long.
const CLEAR: u64 = 1 << 30;

/// What is to be done with a few neighbouring ranges. In each pair, `left` is what the target is to
/// have and `right` what it has.
pub(super) struct Job(Vec<Pair>);

impl Job {
    pub(super) fn pairs(&self) -> &[Pair] {
        &self.0
    }

    pub(super) fn start(&self) -> u64 {
        self.0.first().map_or(0, |pair| pair.range.start())
    }

    pub(super) fn end(&self) -> u64 {
        self.0.last().map_or(0, |pair| pair.range.end())
    }

    fn takes(&self, range: Range) -> bool {
        self.0.is_empty()
            || self.0.len() < EXTENTS
                && range.end() - self.start() <= CHUNK
                && range.start() - self.end() <= GAP
    }
}

/// Packs pairs into jobs and hands them out.
pub(super) struct JobBuilder<'a> {
    frontier: &'a Frontier,
    sender: SyncSender<Job>,
    /// All before this was done by an earlier session.
    resumed: u64,
    job: Job,
}

impl<'a> JobBuilder<'a> {
    pub(super) fn new(frontier: &'a Frontier, sender: SyncSender<Job>, resumed: u64) -> Self {
        Self {
            frontier,
            sender,
            resumed,
            job: Job(vec![]),
        }
    }

    /// Takes the next pair; `wanted` is its left kind as the target can hold it. False when nobody
    /// takes jobs any more.
    pub(super) fn add(&mut self, pair: Pair, wanted: Kind) -> bool {
        let range = pair.range.split_at(self.resumed).1;
        let pair = Pair {
            range,
            left: wanted,
            ..pair
        };
        if range.is_empty() || (pair.left != Kind::Data && pair.left == pair.right) {
            if self.job.0.is_empty() {
                self.frontier.walked(pair.range.end());
            }
            return true;
        }
        let length = if pair.left == Kind::Data {
            CHUNK
        } else {
            CLEAR
        };
        for range in range.pieces(length) {
            if !self.job.takes(range) && !self.flush() {
                return false;
            }
            self.job.0.push(Pair { range, ..pair });
        }
        true
    }

    fn flush(&mut self) -> bool {
        if self.job.0.is_empty() {
            return true;
        }
        self.frontier.begun(&self.job);
        self.sender
            .send(std::mem::replace(&mut self.job, Job(vec![])))
            .is_ok()
    }

    /// Hands out what is left. Dropping the builder tells the workers that no more comes.
    pub(super) fn finish(mut self) -> bool {
        self.flush()
    }
}
