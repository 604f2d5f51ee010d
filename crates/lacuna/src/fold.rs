//! Fold: what a child layer has becomes its parent's, so that the parent alone is what the two were.
//!
//! At every instant the chain reads the same. Until the fold is done, the child hides all that is
//! written; with `free`, the child gives up a range only when the parent has it durably. Where the
//! parent has an extent-size hint, XFS allocates around what is written, and what it allocates hides
//! what is below: it is punched after every few MiB, and when a fold that was killed is repeated.

mod lines;
mod plan;
mod record;
mod round;
mod sides;
mod stats;

use std::path::Path;

use crate::beside;
use crate::checksum_file::ChecksumFile;
use crate::error::{Error, Result};
use crate::extent::{Kind, Range};
use crate::extent_size;
use crate::layer::{self, LayerOptions};
use crate::layout::{Pair, joined};
use crate::open::{Access, IoMode};
use crate::progress::{Cancel, Progress};
use crate::reflink::Reflink;
use crate::settle::{compared, mend};
use crate::source::Source;
use crate::stopped::{Kept, Stopped};
use crate::target::Target;
use crate::transfer::{Transfer, TransferOptions};
pub use plan::FoldPlan;
use record::Record;
use round::Round;
use sides::{allocated, folded, kept};
pub use stats::FoldStats;
use stats::taken_bytes;

/// How to fold.
#[derive(Clone, Copy, Debug)]
pub struct FoldOptions {
    /// Direct or buffered, at both ends.
    pub io: IoMode,
    /// Ranges that are copied at the same time.
    pub threads: usize,
    /// Whether the parent shares the child's space.
    pub reflink: Reflink,
    /// Punch the child's ranges as they become durable in the parent.
    pub free: bool,
    /// Fold although the chain says that these are not a child and its parent.
    pub force_layer: bool,
}

impl Default for FoldOptions {
    fn default() -> Self {
        Self {
            io: IoMode::default(),
            threads: 2,
            reflink: Reflink::default(),
            free: false,
            force_layer: false,
        }
    }
}

/// What folding `child` into `parent` would do. Writes nothing.
///
/// # Errors
///
/// What would be wrong with either, as far as that shows without writing.
pub fn plan(child: &Path, parent: &Path, options: &FoldOptions) -> Result<FoldPlan> {
    let cancel = Cancel::default();
    let (child, parent) = open(child, parent, options, &cancel)?;
    plan_opened(&child, &parent, options, &cancel)
}

/// The same of images that are open.
pub(crate) fn plan_opened(
    child: &Source,
    parent: &Target,
    options: &FoldOptions,
    cancel: &Cancel,
) -> Result<FoldPlan> {
    FoldPlan::of(child, parent.image(), options, parent.is_marked(), cancel)
}

/// Fails when something else than a fold of `child` was interrupted at `parent`.
pub(crate) fn check_opened(child: &Source, parent: &Target) -> Result<()> {
    Record::check(child, parent).map(drop)
}

fn open(
    child: &Path,
    parent: &Path,
    options: &FoldOptions,
    cancel: &Cancel,
) -> Result<(Source, Target)> {
    let (child, parent) = layer::open_pair(child, parent, &layer_options(options), cancel)?;
    check_opened(&child, &parent)?;
    Ok((child, parent))
}

fn layer_options(options: &FoldOptions) -> LayerOptions {
    let child = if options.free { Access::Alone } else { Access::Read };
    LayerOptions { io: options.io, child, force: options.force_layer }
}

/// Folds `child` into `parent`: durable when this returns, to be repeated when it fails.
///
/// # Errors
///
/// Whatever can be wrong with either image, [`Error::NoSpace`] before anything
/// is written, and [`Error::Cancelled`].
pub fn apply(
    child: &Path,
    parent: &Path,
    options: &FoldOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<FoldStats, Stopped> {
    let (mut child, mut parent) = open(child, parent, options, cancel)?;
    let stats = apply_opened(&mut child, &mut parent, options, progress, cancel)?;
    progress.finish();
    Ok(stats)
}

/// The same with images that are open and fit together, as [`check_opened`] finds: `child` may be several
/// layers, all of them leased, and with `free` each opened [alone](Access::Alone).
pub(crate) fn apply_opened(
    child: &mut Source,
    parent: &mut Target,
    options: &FoldOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<FoldStats, Stopped> {
    cancel.check()?;
    let plan = plan_opened(child, parent, options, cancel)?;
    plan.check_space(parent.image())?;
    progress.total_bytes.set(plan.kinds.allocated_bytes());
    let allocated = taken_bytes(child)?;
    if plan.is_empty() && !parent.is_marked() {
        let (size_bytes, kinds) = (plan.size_bytes, plan.kinds);
        return Ok(FoldStats { size_bytes, kinds, ..FoldStats::default() });
    }
    let mut fold = Fold { child, parent, options, progress, cancel, freed: false };
    if let Err(cause) = fold.run(plan.kinds.allocated_bytes()).and_then(|()| fold.parent.commit()) {
        return Err(fold.stop(cause));
    }
    let Fold { child, parent, freed, .. } = fold;
    let reclaimed_bytes = allocated.saturating_sub(taken_bytes(child)?);
    parent.image().drop_cache();
    child.drop_cache();
    Ok(FoldStats {
        size_bytes: plan.size_bytes,
        kinds: plan.kinds,
        grown_bytes: plan.grown_bytes,
        read_bytes: progress.read_bytes.get(),
        written_bytes: progress.written_bytes.get(),
        reflinked_bytes: progress.reflinked_bytes.get(),
        zeroed_bytes: plan.zero_range_bytes,
        reclaimed_bytes: if options.free { reclaimed_bytes } else { 0 },
        freed,
    })
}

struct Fold<'a> {
    child: &'a mut Source,
    parent: &'a mut Target,
    options: &'a FoldOptions,
    progress: &'a Progress,
    cancel: &'a Cancel,
    /// Whether the child may have given up anything, by now or before.
    freed: bool,
}

impl Fold<'_> {
    /// All but the commit. The child has `planned` bytes to be moved.
    fn run(&mut self, planned: u64) -> Result<()> {
        let record = Record::begin(self.child, self.parent, self.options.free, self.cancel)?;
        self.freed = record.freed();
        let size = self.child.size();
        self.parent.resize(size.max(self.parent.image().size()))?;
        let hint = extent_size::hint_of(self.parent.image().file());
        let moved = match self.options.free || hint > 0 {
            true => self.move_in_rounds(hint)?,
            false => self.move_at_once()?,
        };
        self.child.check()?;
        if moved != planned {
            let path = self.child.path().to_owned();
            return Err(Error::NotAllMoved { path, moved, planned });
        }
        if !self.options.free {
            self.parent.image().sync()?;
            self.settle(Range::to(size))?;
        }
        mend(self.parent, self.cancel, || {
            kept(record.extents()?, self.parent.image(), Range::to(size))
        })?;
        self.child.check()
    }

    fn transfer(&self) -> Transfer<'_> {
        let options = TransferOptions {
            threads: self.options.threads.max(1),
            reflink: self.options.reflink,
            resumed_bytes: 0,
        };
        Transfer::new(self.child, self.parent, options, self.progress, self.cancel)
    }

    /// Makes sure that the parent has the kinds that the child has in `range`.
    fn settle(&self, range: Range) -> Result<()> {
        mend(self.parent, self.cancel, || {
            Ok(allocated(compared(self.child, self.parent.image(), range)?.1))
        })
    }

    /// Moves the child's ranges, and returns how many bytes these are.
    fn move_at_once(&self) -> Result<u64> {
        let all = Range::to(self.child.size());
        let (origin, pairs) = folded(self.child, self.parent, all)?;
        let mut moved = 0;
        let count = |pair: &Result<Pair>| {
            moved += pair.as_ref().map_or(0, |pair| pair.range.len());
        };
        self.transfer().run(origin, pairs.inspect(count))?;
        Ok(moved)
    }

    /// The same, a few at a time: what the child gives up, the parent has for good, and what the
    /// filesystem allocates around them hides what is below for a moment only.
    fn move_in_rounds(&mut self, hint: u64) -> Result<u64> {
        let all = Range::to(self.child.size());
        let (mut rest, mut total) = (all, 0);
        while !rest.is_empty() {
            let round = Round::next(self.child, self.parent, rest, hint)?;
            let (Some(first), Some(last)) = (round.pairs.first(), round.pairs.last()) else {
                break;
            };
            let range = first.range.through(last.range);
            let moved =
                self.transfer().run(round.origin, joined(round.pairs.iter().copied().map(Ok)));
            // Whatever stopped it, and to the end.
            let settled = round.settle_around(self.parent);
            moved.and(settled)?;
            total += round.pairs.iter().map(|pair| pair.range.len()).sum::<u64>();
            if self.options.free {
                self.parent.image().sync()?;
                self.settle(range)?;
                self.give_up(&round.pairs)?;
            }
            rest = all.split_at(range.end()).1;
        }
        Ok(total)
    }

    /// Punches what the parent has by now out of the child, the oldest of its layers first, one call for
    /// neighbours.
    fn give_up(&mut self, round: &[Pair]) -> Result<()> {
        self.child.check()?;
        let alike = |pair: &Pair| Ok(Pair { left: Kind::Hole, right: Kind::Hole, ..*pair });
        for layer in self.child.oldest_first() {
            ChecksumFile::remove(&beside::resolve(layer.image().path())?)?;
            let held = layer.hold()?;
            held.check()?;
            for run in joined(round.iter().map(alike)) {
                held.punch(run?.range)?;
            }
            drop(held);
            // Before what is newer is given up: no older value may come to light.
            layer.sync()?;
            layer.restamp()?;
        }
        Ok(())
    }

    fn stop(&self, cause: Error) -> Stopped {
        let path = self.parent.path().to_owned();
        let kept = match (self.parent.is_written(), self.parent.image().is_device()) {
            (false, _) => Kept::Nothing,
            (true, true) => Kept::HalfWrittenDevice(path),
            (true, false) => Kept::HalfFolded { parent: path, freed: self.freed },
        };
        Stopped { cause, kept }
    }
}
