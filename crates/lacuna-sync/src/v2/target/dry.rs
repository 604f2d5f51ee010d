//! The target of a session in which nothing is written: what there is of the image is read, and what
//! would be done with it is counted.

mod looker;

use std::collections::VecDeque;

use lacuna::copy::CopyPlan;
use lacuna::ordered::in_order;
use lacuna::receipt::CHUNK;
use lacuna::{BLOCK, Cancel, LayoutOptions, PlannedTarget, Progress, Range};
use lacuna_wire::{Accept, Answered, Checked, Dry, Message, Offer, Wanted, types};

use super::super::chunks::chunk_range;
use super::super::frames::Arrived;
use super::super::kinds::kinds_from;
use super::super::link::Link;
use super::pending::MOST;
use super::{WANTED, end_of, follow};
use crate::error::{Error, Result};
use looker::{Looker, bytes_of};

/// One session.
pub(in super::super) struct Looking<'a> {
    link: &'a Link,
    target: &'a PlannedTarget,
    dry: Dry,
    threads: usize,
    progress: &'a Progress,
    cancel: &'a Cancel,
    size: u64,
    /// About what it will have of data and zero.
    total: u64,
    /// Behind this, the target has nothing: there, a session that writes does not compare.
    content_end: u64,
}

/// What became of one message.
#[derive(Default)]
struct Seen {
    /// From block to block.
    covers: Option<(u64, u64)>,
    plan: CopyPlan,
    spared: Spared,
    wanted: Vec<Wanted>,
    /// Chunks that were compared.
    checked: u64,
    /// Blocks that differ, of chunks that were asked about.
    answers: Vec<Answered>,
}

/// Bytes that were counted, and need not be written or cleared.
#[derive(Default)]
struct Spared {
    written: u64,
    cleared: u64,
}

/// What all messages came to.
struct Sums {
    plan: CopyPlan,
    spared: Spared,
    checked: u64,
    /// All before this was counted.
    covered: u64,
    /// Chunks and their blocks that the source was asked about.
    asked: VecDeque<(u64, u16)>,
}

impl<'a> Looking<'a> {
    /// Looks at `target`, which is to be what a source is that has made this `offer`.
    pub(in super::super) fn new(
        link: &'a Link,
        target: &'a PlannedTarget,
        dry: Dry,
        threads: usize,
        offer: &Offer,
        progress: &'a Progress,
        cancel: &'a Cancel,
    ) -> Result<Self> {
        let unit = target.allocation_unit();
        if unit > BLOCK && !target.is_device() {
            let path = target.path().to_owned();
            return Err(lacuna::Error::LargeBlocks { path, unit }.into());
        }
        let (size, total) = (offer.size, offer.allocated.min(offer.size));
        // What others have written to it is written out.
        let options = LayoutOptions { range: Some(Range::to(size)), flush: true };
        let content_end = end_of(target.layout(options)?)?;
        Ok(Self { link, target, dry, threads, progress, cancel, size, total, content_end })
    }

    /// All of the session but for its last message.
    pub(in super::super) fn run(&self) -> Result<CopyPlan> {
        let plan = CopyPlan::begin(self.target, self.size)?;
        let kinds = kinds_from(self.target.origin(), self.target.allocation_unit());
        let content_end = self.size.next_multiple_of(CHUNK);
        self.link.say(&Message::Accept(Accept { kinds, content_end, total: self.total }))?;
        self.progress.total_bytes.set(self.total);
        let Sums { mut plan, spared, .. } = self.transfer(plan)?;
        if self.dry == Dry::Compare {
            self.target.check()?;
            plan.written_bytes_max -= spared.written;
            plan.cleared_bytes -= spared.cleared;
            plan.written_bytes = Some(plan.written_bytes_max);
        }
        Ok(plan)
    }

    /// Takes in everything up to the End.
    fn transfer(&self, plan: CopyPlan) -> Result<Sums> {
        let (spared, asked) = (Spared::default(), VecDeque::new());
        let mut sums = Sums { plan, spared, checked: 0, covered: 0, asked };
        in_order(
            self.threads,
            std::iter::from_fn(|| self.next_frame().transpose()),
            || Looker::new(self),
            |looker, frame: Arrived| {
                let seen = frame.open(&self.link.pool).and_then(|payload| looker.take(&payload));
                seen.map_err(|error| self.link.fail(error))
            },
            |seen| self.add(seen, &mut sums).map_err(|error| self.link.fail(error)),
        )?;
        match sums.covered >= self.size && sums.asked.is_empty() {
            true => Ok(sums),
            false => Err(Error::malformed("an End", "comes before all of the image")),
        }
    }

    /// The next frame for the workers; `None` at the End.
    fn next_frame(&self) -> Result<Option<Arrived>> {
        let frame = self.link.recv()?;
        if frame.kind() != types::END {
            return Ok(Some(frame));
        }
        frame.open(&self.link.pool)?.message().map(|_| None)
    }

    /// Counts what was seen, in the order of the messages, and tells the source of it.
    fn add(&self, seen: Seen, sums: &mut Sums) -> Result<()> {
        if let Some(covers) = seen.covers {
            sums.covered = follow(covers, sums.covered, self.size)?;
        }
        sums.plan.merge(&seen.plan);
        let done = self.total.min(sums.plan.kinds.allocated_bytes());
        self.progress.advance(done);
        sums.spared.written += seen.spared.written;
        sums.spared.cleared += seen.spared.cleared;
        for answer in seen.answers {
            sums.spared.written += self.equal_of(answer, sums.asked.pop_front())?;
        }
        sums.asked.extend(seen.wanted.iter().map(|wanted| (wanted.chunk, wanted.differing)));
        if sums.asked.len() > MOST {
            return Err(Error::malformed("Digests", "come without an answer to what was wanted"));
        }
        for wanted in seen.wanted.chunks(WANTED) {
            self.link.say(&Message::Want(wanted.to_vec()))?;
        }
        if seen.checked > 0 {
            sums.checked += seen.checked;
            self.link.say(&Message::Checked(Checked { chunks: sums.checked, done }))?;
        }
        Ok(())
    }

    /// Bytes of the blocks of a chunk that were `asked` about and do not differ.
    fn equal_of(&self, answer: Answered, asked: Option<(u64, u16)>) -> Result<u64> {
        let Answered { chunk, blocks } = answer;
        let asked = asked.filter(|(number, mask)| *number == chunk && blocks & !mask == 0);
        let (_, mask) =
            asked.ok_or_else(|| Error::malformed("Blocks", "are not those that were wanted"))?;
        Ok(bytes_of(chunk_range(chunk, Range::to(self.size)), mask & !blocks))
    }
}
