//! Fold: what a child layer has becomes its parent's, so that the parent alone is what the two were.
//!
//! At every instant the chain reads the same. Until the fold is done, the child hides all that is
//! written; with `free`, the child gives up a range only when the parent has it durably.

mod plan;
mod record;

use std::path::Path;

use crate::copy::{Kept, Stopped};
use crate::error::Result;
use crate::extent::{Kind, KindBytes, Range};
use crate::image::Image;
use crate::layer::{self, LayerOptions};
use crate::layout::{Layout, LayoutOptions, Pair, pairs, rounded};
use crate::open::{Access, ImageOptions, IoMode};
use crate::progress::{Cancel, Progress};
use crate::reflink::Reflink;
use crate::settle::{compared, held_as, mend};
use crate::source::Source;
use crate::target::Target;
use crate::transfer::{Transfer, TransferOptions};
pub use plan::FoldPlan;
use record::Record;

/// Ranges in one round of a fold with `free`, at most.
const ROUND_RANGES: usize = 1 << 14;

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

/// What a fold did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct FoldStats {
    /// Size of both afterwards.
    pub size_bytes: u64,
    /// The kinds that the child had.
    #[serde(flatten)]
    pub kinds: KindBytes,
    /// By which the parent grew.
    pub grown_bytes: u64,
    /// Read from the child.
    pub read_bytes: u64,
    /// Written to the parent.
    pub written_bytes: u64,
    /// Shared with the parent instead of written.
    pub reflinked_bytes: u64,
    /// Space that the child gave up.
    pub freed_bytes: u64,
}

/// What folding `child` into `parent` would do. Writes nothing.
///
/// # Errors
///
/// What would be wrong with either, as far as that shows without writing.
pub fn plan(child: &Path, parent: &Path, options: &FoldOptions) -> Result<FoldPlan> {
    let (child, parent) = layer::open_pair(child, parent, &layer_options(options))?;
    FoldPlan::of(child.image(), parent.image(), options)
}

fn layer_options(options: &FoldOptions) -> LayerOptions {
    let child = if options.free { Access::Write } else { Access::Read };
    LayerOptions { io: options.io, child, force: options.force_layer }
}

/// Folds `child` into `parent`: durable when this returns, to be repeated when it fails.
///
/// # Errors
///
/// Whatever can be wrong with either image, [`Error::NoSpace`](crate::Error::NoSpace) before anything
/// is written, and [`Error::Cancelled`](crate::Error::Cancelled).
pub fn apply(
    child: &Path,
    parent: &Path,
    options: &FoldOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<FoldStats, Stopped> {
    let (child, parent) = layer::open_pair(child, parent, &layer_options(options))?;
    let plan = FoldPlan::of(child.image(), parent.image(), options)?;
    plan.check_space(parent.image())?;
    progress.total_bytes.set(plan.kinds.allocated_bytes());
    let allocated = child.image().allocated_bytes()?;
    let mut fold = Fold { child, parent, options, progress, cancel };
    if let Err(cause) = fold.run() {
        return Err(fold.stop(cause));
    }
    let Fold { child, parent, .. } = fold;
    let freed_bytes = allocated.saturating_sub(child.image().allocated_bytes()?);
    parent.commit()?.drop_cache();
    child.image().drop_cache();
    progress.finish();
    Ok(FoldStats {
        size_bytes: plan.size_bytes,
        kinds: plan.kinds,
        grown_bytes: plan.grown_bytes,
        read_bytes: progress.read_bytes.get(),
        written_bytes: progress.written_bytes.get(),
        reflinked_bytes: progress.reflinked_bytes.get(),
        freed_bytes: if options.free { freed_bytes } else { 0 },
    })
}

struct Fold<'a> {
    child: Source,
    parent: Target,
    options: &'a FoldOptions,
    progress: &'a Progress,
    cancel: &'a Cancel,
}

impl Fold<'_> {
    /// All but the commit.
    fn run(&mut self) -> Result<()> {
        let record = Record::begin(&self.child, &self.parent)?;
        let size = self.child.image().size();
        self.parent.resize(size.max(self.parent.image().size()))?;
        match self.options.free {
            true => self.move_in_rounds()?,
            false => {
                let (origin, pairs) = self.folded(Range::to(size))?;
                self.transfer().run(origin, pairs)?;
                self.parent.image().sync()?;
                self.settle(Range::to(size))?;
            }
        }
        if !self.parent.image().is_device() {
            mend(&self.parent, self.cancel, || recorded(&record, self.parent.image()))?;
        }
        self.child.check()
    }

    fn transfer(&self) -> Transfer<'_> {
        let options = TransferOptions {
            threads: self.options.threads.max(1),
            reflink: self.options.reflink,
            resumed_bytes: 0,
        };
        Transfer::new(&self.child, &self.parent, options, self.progress, self.cancel)
    }
}
