//! The end of a session whose image becomes that of the other end.
//!
//! One thread takes the frames from the link, others compare, write and clear, and what they find is
//! told the source in order. A chunk of which blocks are wanted waits, as a few hundred bytes, until
//! these come.

mod checking;
mod dry;
mod ending;
mod pending;
mod saving;
mod writing;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};

use lacuna::ordered::in_order;
use lacuna::receipt::{CHUNK, Receipt};
use lacuna::{BLOCK, Cancel, Extent, Kind, KindBytes, Layout, LayoutOptions, Progress, Target};
use lacuna_wire::{Accept, Checked, End, Kinds, Message, Offer, Wanted, types};

use super::frames::Arrived;
use super::kinds::{kinds_of, origin_of};
use super::link::Link;
use super::session::Synced;
use crate::error::{Error, Result};
pub(super) use dry::Looking;
use pending::Waiting;
use writing::Worker;

/// Chunks in a Want, which has room for as many.
const WANTED: usize = 2048;

/// How to receive.
#[derive(Clone, Copy, Debug)]
pub struct TargetOptions {
    /// Threads that compare and write.
    pub threads: usize,
    /// Read the target again from the medium before it is committed.
    pub verify: bool,
    /// What an interrupted session left of a new target is thrown away.
    pub no_resume: bool,
}

impl Default for TargetOptions {
    fn default() -> Self {
        Self { threads: 2, verify: false, no_resume: false }
    }
}

/// One session.
pub(super) struct Receiving<'a> {
    pub(super) link: &'a Link,
    pub(super) target: &'a Target,
    pub(super) options: TargetOptions,
    pub(super) progress: &'a Progress,
    pub(super) cancel: &'a Cancel,
    size: u64,
    /// What is to be settled, and with *verify* to be read again, about.
    total: u64,
    kinds: Kinds,
    waiting: Waiting,
    /// All before this has been dealt with, but for what waits.
    covered: AtomicU64,
    /// What comes in front of this is compared, what comes behind it is written.
    content_end: AtomicU64,
    /// What the source said at its end.
    announced: Mutex<End>,
}

/// What became of one message.
#[derive(Default)]
struct Outcome {
    /// From block to block.
    covers: Option<(u64, u64)>,
    wanted: Vec<Wanted>,
    /// Chunks that were compared.
    checked: u64,
    /// Bytes that are data or zero, and as they shall be.
    settled: u64,
    receipt: Receipt,
    /// The same over kinds alone.
    kinds: Receipt,
}

/// What all messages came to.
#[derive(Default)]
struct Sums {
    checked: Checked,
    receipt: Receipt,
    kinds: Receipt,
}

/// Makes `target` as large as the source.
pub(super) fn fit(target: &mut Target, size: u64) -> Result<()> {
    let unit = target.image().allocation_unit();
    if unit > BLOCK && !target.image().is_device() {
        // A block of it would be of two kinds.
        return Err(lacuna::Error::LargeBlocks { path: target.path().to_owned(), unit }.into());
    }
    // A record speaks of what a local copy had done, and knows nothing of this session.
    target.void_record()?;
    Ok(target.resize(size)?)
}

impl<'a> Receiving<'a> {
    /// The session of a `target` that [fits](fit).
    pub(super) fn new(
        link: &'a Link,
        target: &'a Target,
        offer: &Offer,
        options: TargetOptions,
        progress: &'a Progress,
        cancel: &'a Cancel,
    ) -> Result<Self> {
        Ok(Self {
            link,
            kinds: kinds_of(target.image())?,
            target,
            options,
            progress,
            cancel,
            size: offer.size,
            total: offer.allocated.min(offer.size) << u32::from(options.verify),
            waiting: Waiting::default(),
            covered: AtomicU64::new(0),
            content_end: AtomicU64::new(0),
            announced: Mutex::default(),
        })
    }

    /// Makes the image whole.
    pub(super) fn commit(&self) -> Result<()> {
        self.link.in_call(|| self.target.commit())?;
        self.progress.finish();
        Ok(())
    }

    /// All of the session but for the commit, after which the source is told that it is done.
    pub(super) fn run(&self) -> Result<Synced> {
        // Before it tells a layout, the system writes what it has in memory.
        let content_end = self.link.in_call(|| self.content_end())?;
        self.content_end.store(content_end, Ordering::Release);
        let accept = Accept { kinds: self.kinds, content_end, total: self.total };
        self.link.say(&Message::Accept(accept))?;
        self.progress.total_bytes.set(self.total);
        let sums = self.transfer()?;
        let End { receipt, data, zero, read, sent } = self.end(&sums)?;
        let hole_bytes = self.size.saturating_sub(data.saturating_add(zero));
        Ok(Synced {
            size_bytes: self.size,
            kinds: KindBytes { data_bytes: data, zero_bytes: zero, hole_bytes },
            read_bytes: read,
            compared_bytes: self.progress.compared_bytes.get(),
            sent_bytes: sent,
            written_bytes: self.progress.written_bytes.get(),
            rest_bytes: self.target.image().size() - self.size,
            target_layout_from: origin_of(self.kinds),
            receipt,
        })
    }

    /// Behind which chunk there is nothing yet.
    fn content_end(&self) -> Result<u64> {
        if self.target.image().is_device() {
            return Ok(self.size.next_multiple_of(CHUNK));
        }
        if !self.target.has_content() {
            return Ok(0);
        }
        end_of(Layout::new(self.target.image(), &LayoutOptions::default())?)
    }

    /// Takes in everything up to the first End.
    fn transfer(&self) -> Result<Sums> {
        let mut sums = Sums::default();
        std::thread::scope(|scope| {
            let (_in_transfer, is_over) = channel();
            scope.spawn(|| self.save(is_over));
            self.take_in(&mut sums)
        })?;
        self.link.check()?;
        self.covers_all().map(|()| sums)
    }

    fn covers_all(&self) -> Result<()> {
        match self.covered.load(Ordering::Acquire) >= self.size && self.waiting.is_empty() {
            true => Ok(()),
            false => Err(Error::malformed("an End", "comes before all of the image")),
        }
    }

    fn take_in(&self, sums: &mut Sums) -> Result<()> {
        in_order(
            self.options.threads,
            std::iter::from_fn(|| {
                self.next_frame(&[types::DIGESTS, types::DATA, types::BLOCKS]).transpose()
            }),
            || Worker::new(self),
            |worker, frame: Arrived| {
                let done = frame.open(&self.link.pool).and_then(|payload| worker.take(&payload));
                done.map_err(|error| self.link.fail(error))
            },
            |outcome: Outcome| {
                sums.receipt.merge(outcome.receipt);
                sums.kinds.merge(outcome.kinds);
                let told =
                    self.cover(&outcome).and_then(|()| self.tell(outcome, &mut sums.checked));
                told.map_err(|error| self.link.fail(error))
            },
        )
    }

    /// The next frame for the workers; `None` at the End.
    fn next_frame(&self, expected: &[u8]) -> Result<Option<Arrived>> {
        let frame = self.link.recv()?;
        match frame.kind() {
            kind if expected.contains(&kind) => Ok(Some(frame)),
            types::END => {
                let payload = frame.open(&self.link.pool)?;
                if let Message::End(end) = payload.message()? {
                    *self.announced.lock().unwrap_or_else(PoisonError::into_inner) = end;
                }
                Ok(None)
            }
            _ => Err(Error::malformed("a message", "does not belong there")),
        }
    }

    /// The parts of an image come in order.
    fn cover(&self, outcome: &Outcome) -> Result<()> {
        let Some(covers) = outcome.covers else { return Ok(()) };
        let covered = follow(covers, self.covered.load(Ordering::Acquire), self.size)?;
        self.covered.store(covered, Ordering::Release);
        Ok(())
    }

    fn tell(&self, outcome: Outcome, checked: &mut Checked) -> Result<()> {
        for wanted in outcome.wanted.chunks(WANTED) {
            self.link.say(&Message::Want(wanted.to_vec()))?;
        }
        checked.chunks += outcome.checked;
        checked.done = self.total.min(checked.done + outcome.settled);
        self.progress.advance(checked.done);
        match self.link.say(&Message::Checked(*checked)) {
            // What has come of an image is written, even if nobody is there any more to hear of it.
            Err(Error::Ended) if outcome.checked == 0 => Ok(()),
            said => said,
        }
    }
}

/// Behind which chunk an image of these extents has nothing.
fn end_of(extents: impl Iterator<Item = lacuna::Result<Extent>>) -> Result<u64> {
    let mut end = 0;
    for extent in extents {
        let Extent { range, kind } = extent?;
        if kind != Kind::Hole {
            end = range.end();
        }
    }
    Ok(end.next_multiple_of(CHUNK))
}

/// Where a part `from` block `to` block ends that must begin where the one before has ended.
fn follow((from, to): (u64, u64), before: u64, size: u64) -> Result<u64> {
    match from.saturating_mul(BLOCK) == before && to > from {
        true => Ok(to.saturating_mul(BLOCK).min(size)),
        false => Err(Error::malformed("a part of the image", "is not the next one")),
    }
}
