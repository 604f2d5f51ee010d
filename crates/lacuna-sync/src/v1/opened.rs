//! What each request does to the image that a v1 server has open. Blocking.

mod ending;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lacuna::digest::{Crc64, Hasher};
use lacuna::layout::{Layout, LayoutOptions};
use lacuna::{BLOCK, BufPool, Cancel, IoMode, Kind, Progress, Range, Target, TargetOptions};
use lacuna_wire::v1::Interval;

use super::contents::Content;
use super::holes;
use super::ledger::{Ledger, Limits, Outcome};
use crate::error::{Error, Result};

/// Bytes read at a time for a digest.
const PIECE: usize = 1 << 20;

/// What was written is made durable every so many bytes, so that `close` does not take long.
const SYNC_EVERY: u64 = 256 << 20;

/// An image between `open` and `close`.
pub(super) struct Opened {
    target: Target,
    size: u64,
    direct: bool,
    existed: bool,
    ledger: Mutex<Ledger>,
    unsynced: AtomicU64,
    shared: Shared,
}

/// What outlives an image that is open.
#[derive(Clone)]
pub(super) struct Shared {
    progress: Arc<Progress>,
    cancel: Cancel,
    pieces: BufPool,
}

impl Shared {
    pub(super) fn new(progress: Arc<Progress>, cancel: Cancel) -> Self {
        Self { progress, cancel, pieces: BufPool::new(PIECE) }
    }
}

impl Opened {
    /// Opens the image at `path` and gives it its size.
    pub(super) fn open(path: &Path, size: u64, direct: bool, shared: &Shared) -> Result<Self> {
        if direct && !size.is_multiple_of(BLOCK) {
            return Err(Error::UnalignedSize(size));
        }
        let io = if direct { IoMode::Direct } else { IoMode::Buffered };
        let mut target = Target::open(path, &TargetOptions { io, ..TargetOptions::default() })?;
        let existed = target.has_content();
        target.void_record()?;
        target.resize(size)?;
        shared.progress.total_bytes.set(size);
        let (ledger, unsynced) = (Ledger::new(size, Limits::default()), AtomicU64::new(0));
        let (ledger, shared) = (Mutex::new(ledger), shared.clone());
        Ok(Self { target, size, direct, existed, ledger, unsynced, shared })
    }

    /// Begins a session of its own, for a client that opens what is open already.
    pub(super) fn restart(&self, size: u64, direct: bool) -> Result<()> {
        if (self.size, self.direct) != (size, direct) {
            return Err(Error::State("the image is open with another size or directIO"));
        }
        self.ledger().restart();
        Ok(())
    }

    /// Whether there was content to compare with.
    pub(super) fn existed(&self) -> bool {
        self.existed
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn within(&self, interval: Interval) -> Range {
        let within = interval.within(self.size);
        Range::new(within.begin(), within.end()).unwrap_or(Range::to(0))
    }

    /// The client says that it could not send all.
    pub(super) fn give_up(&self) {
        self.ledger().give_up();
    }

    /// A request that writes `interval` begins.
    pub(super) fn begin_write(self: &Arc<Self>, interval: Interval) -> Ticket {
        let range = self.within(interval);
        let number = self.ledger().begin(range, true);
        Ticket { opened: self.clone(), number, range, outcome: Outcome::Refused }
    }

    fn begin_read(self: &Arc<Self>, range: Range) -> Ticket {
        let number = self.ledger().begin(range, false);
        Ticket { opened: self.clone(), number, range, outcome: Outcome::Nothing }
    }

    /// The SHA-512 of `interval`, or `None` when not all of it is allocated.
    pub(super) fn checksum(self: &Arc<Self>, interval: Interval) -> Result<Option<[u8; 64]>> {
        let range = self.within(interval);
        let mut ticket = self.begin_read(range);
        if range.is_empty() || self.has(range, Kind::Hole)? {
            return Ok(None);
        }
        // What cannot be read may not be what was written.
        ticket.outcome = Outcome::Failed;
        let (mut sha512, mut crc64) = (Hasher::sha512(), Crc64::default());
        let mut buf = self.shared.pieces.take();
        for piece in range.pieces(PIECE as u64) {
            self.shared.cancel.check()?;
            let bytes = &mut buf[..piece.len() as usize];
            self.target.image().read_at(bytes, piece.start())?;
            sha512.update(bytes);
            crc64 = crc64.then(Crc64::of(bytes));
        }
        ticket.outcome = Outcome::Done(Content::Crc(crc64));
        self.shared.progress.compared_bytes.add(range.len());
        if self.existed {
            self.shared.progress.done_bytes.add(range.len());
        }
        Ok(sha512.finish().try_into().ok())
    }

    /// Whether any of `range` is a hole, or, for another kind, is allocated.
    fn has(&self, range: Range, kind: Kind) -> Result<bool> {
        let options = LayoutOptions { range: Some(range), flush: false };
        for extent in Layout::new(self.target.image(), &options)? {
            if (extent?.kind == Kind::Hole) == (kind == Kind::Hole) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Keeps the ledger short.
    fn tidy(&self) -> Result<()> {
        let mut ledger = self.ledger();
        if ledger.is_long() {
            let forgotten = ledger.combine();
            if let Err(error) = holes::mend(&self.target, &forgotten) {
                ledger.overflow();
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn sync_now_and_then(&self, written: u64) -> Result<()> {
        let before = self.unsynced.fetch_add(written, Ordering::Relaxed);
        if before / SYNC_EVERY != (before + written) / SYNC_EVERY {
            self.target.image().sync()?;
        }
        Ok(())
    }
}

/// A request for a range of the image. It counts as failed unless it succeeds.
pub(super) struct Ticket {
    opened: Arc<Opened>,
    number: u64,
    range: Range,
    outcome: Outcome,
}

impl Ticket {
    /// Writes the bytes of the range.
    pub(super) fn write(mut self, bytes: &[u8]) -> Result<()> {
        self.opened.tidy()?;
        if !self.range.is_empty() {
            self.outcome = Outcome::Failed;
            self.opened.target.write_at(bytes, self.range.start())?;
            self.opened.sync_now_and_then(self.range.len())?;
        }
        self.opened.shared.progress.written_bytes.add(self.range.len());
        if !self.opened.existed {
            self.opened.shared.progress.done_bytes.add(self.range.len());
        }
        self.outcome = Outcome::Done(Content::Crc(Crc64::of(bytes)));
        Ok(())
    }

    /// Makes the range a hole. One that is a hole already is left alone, so that an image that is
    /// equal is not changed at all.
    pub(super) fn punch(mut self) -> Result<()> {
        self.opened.tidy()?;
        if !self.range.is_empty() && self.opened.has(self.range, Kind::Data)? {
            self.outcome = Outcome::Failed;
            self.opened.target.punch(self.range)?;
        }
        self.outcome = Outcome::Done(Content::Hole);
        Ok(())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.opened.ledger().finish(self.number, self.outcome);
    }
}
