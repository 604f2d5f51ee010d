//! Squash: the layers of a chain from OLD up to NEW become one, in place, under NEW's name.
//!
//! At every instant the chain reads the same through NEW and whatever stands on it, and when the squash is
//! killed, the same one completes it:
//!
//! 1. All layers above OLD are folded into it at once, see [`fold`]: they hide what is half done. With `free`,
//!    they are punched from the oldest to the newest, each made durable before the next, when OLD holds the
//!    same durably: wherever one of them is a hole by now, either a newer one still hides what is below, or
//!    the older ones are holes too and OLD shows the same. The next squash goes on with what they still have.
//! 2. OLD is whole and durable, and its mark is gone. Nothing but OLD has changed, and the layers above it
//!    hide that: the next squash folds again.
//! 3. OLD gets NEW's name as well. OLD is no hole wherever a layer above it has anything, so that through NEW
//!    none of the others shows: what NEW reads through them is a hole in all of them, OLD among them.
//! 4. NEW's `.meta` file names OLD's parent, and then `volume.meta` where NEW is the head: the layers between and OLD's
//!    own name are in nobody's chain.
//! 5. They are removed, the newest first and OLD last; of each, the `.meta` file last, so that those that are
//!    left still lead to each other.
//!
//! From 3 on, the next squash knows the one file of OLD and NEW, or the `.meta` file that OLD has left, makes sure
//! that NEW hides all that is to go, and does 4 and 5.

mod commit;
mod remains;
mod span;

use std::path::{Path, PathBuf};

use super::stacked;
use crate::error::Result;
use crate::fold::{self, FoldOptions, FoldPlan, FoldStats};
use crate::layer::{open_parent, refuse_larger};
use crate::lease;
use crate::locked::LockedImage;
use crate::open::{Access, ImageOptions, IoMode, Links};
use crate::progress::{Cancel, Progress};
use crate::reflink::Reflink;
use crate::source::Source;
use crate::stopped::{Kept, Stopped};
use crate::target::{Target, TargetOptions};
use remains::Remains;
pub use span::Span;
use span::Stack;

/// How to squash.
#[derive(Clone, Copy, Debug)]
pub struct SquashOptions {
    /// Direct or buffered, at both ends.
    pub io: IoMode,
    /// Ranges that are copied at the same time.
    pub threads: usize,
    /// Whether space is shared instead of copied.
    pub reflink: Reflink,
    /// Punch what is durable in the oldest layer out of the others as it goes.
    pub free: bool,
}

impl Default for SquashOptions {
    fn default() -> Self {
        let FoldOptions { io, threads, reflink, free, .. } = FoldOptions::default();
        Self { io, threads, reflink, free }
    }
}

impl SquashOptions {
    fn fold(&self) -> FoldOptions {
        let Self { io, threads, reflink, free } = *self;
        FoldOptions { io, threads, reflink, free, force_layer: false }
    }
}

/// What a squash would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SquashPlan {
    /// What goes into the oldest layer, and the space for it; nothing when a squash that was interrupted has
    /// done that.
    #[serde(flatten)]
    pub fold: FoldPlan,
    /// Whether only files are left to be removed.
    pub only_removed: bool,
    /// The oldest layer, which takes the name of the newest.
    #[serde(skip)]
    pub old: PathBuf,
    /// The newest layer, whose file is replaced.
    #[serde(skip)]
    pub new: PathBuf,
    /// The files that would be removed, in their order.
    #[serde(skip)]
    pub removed: Vec<PathBuf>,
}

/// What a squash did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SquashStats {
    /// What went into the oldest layer; nothing when a squash that was interrupted has done that. The space
    /// that is reclaimed is that by which all of the layers together take less.
    #[serde(flatten)]
    pub fold: FoldStats,
    /// Whether only files were left to be removed.
    pub only_removed: bool,
    /// The oldest layer, which has taken the name of the newest.
    #[serde(skip)]
    pub old: PathBuf,
    /// The one layer that is left.
    #[serde(skip)]
    pub new: PathBuf,
    /// The files that were removed, in their order.
    #[serde(skip)]
    pub removed: Vec<PathBuf>,
}

/// What squashing `span` would do. Writes nothing.
///
/// # Errors
///
/// What would be wrong with the layers, as far as that shows without writing.
pub fn plan(span: &Span, options: &SquashOptions) -> Result<SquashPlan> {
    let cancel = Cancel::default();
    let stack = Stack::find(span)?;
    let fold = match stack.is_one() {
        true => {
            let remains = Remains::open(&stack, &cancel)?;
            FoldPlan { size_bytes: remains.size(), ..FoldPlan::default() }
        }
        false => {
            let (above, old) = open(&stack, options, &cancel)?;
            fold::plan_opened(&above, &old, &options.fold(), &cancel)?
        }
    };
    let (old, new) = (stack.oldest().to_owned(), stack.newest().to_owned());
    Ok(SquashPlan { fold, only_removed: stack.is_one(), old, new, removed: commit::doomed(&stack) })
}

/// Squashes `span`: durable when this returns, to be repeated when it fails.
///
/// # Errors
///
/// Whatever can be wrong with the layers, [`Error::NoSpace`](crate::Error::NoSpace) before anything is
/// written, and [`Error::Cancelled`](crate::Error::Cancelled).
pub fn apply(
    span: &Span,
    options: &SquashOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<SquashStats, Stopped> {
    let stack = Stack::find(span)?;
    let taken = taken_bytes(&stack);
    let removed = commit::doomed(&stack);
    let fold = match stack.is_one() {
        true => {
            let remains = Remains::open(&stack, cancel)?;
            let _no_copy = stack.keep_copies_out()?;
            // Whoever was at work here before may have gone on.
            stack.find_again(span)?;
            let size_bytes = remains.size();
            stopped_at(&stack, cancel.check().and_then(|()| commit::remove(&stack)))?;
            FoldStats { size_bytes, ..FoldStats::default() }
        }
        false => fold_and_commit(span, &stack, options, progress, cancel)?,
    };
    progress.finish();
    let reclaimed_bytes = taken.saturating_sub(taken_bytes(&stack));
    let (old, new) = (stack.oldest().to_owned(), stack.newest().to_owned());
    let fold = FoldStats { reclaimed_bytes, ..fold };
    Ok(SquashStats { fold, only_removed: stack.is_one(), old, new, removed })
}

fn fold_and_commit(
    span: &Span,
    stack: &Stack,
    options: &SquashOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<FoldStats, Stopped> {
    let (mut above, mut old) = open(stack, options, cancel)?;
    let _no_copy = stack.keep_copies_out()?;
    stack.find_again(span)?;
    let stats = fold::apply_opened(&mut above, &mut old, &options.fold(), progress, cancel)?;
    let commit = || {
        cancel.check()?;
        // There may have been nothing to fold.
        old.image().sync()?;
        old.image().check_name()?;
        // An engine is not kept from changing what the directory says.
        stack.find_again(span)?;
        above.check()?;
        commit::replace(stack)?;
        commit::remove(stack)
    };
    stopped_at(stack, commit())?;
    Ok(stats)
}

fn stopped_at(stack: &Stack, done: Result<()>) -> Result<(), Stopped> {
    done.map_err(|cause| Stopped { cause, kept: Kept::HalfSquashed(stack.newest().to_owned()) })
}

/// Opens and locks what is above the oldest layer, as one, and that. Nobody else has any of it open for writing.
fn open(stack: &Stack, options: &SquashOptions, cancel: &Cancel) -> Result<(Source, Target)> {
    stack.refuse_apart()?;
    stack.refuse_linked(options.free)?;
    stack.refuse_marked_parent()?;
    let access = if options.free { Access::Alone } else { Access::Read };
    let layer =
        ImageOptions { io: options.io, access, links: Links::Refuse, ..ImageOptions::default() };
    let newest_first: Vec<_> = stack.above().rev().cloned().collect();
    let mut layers =
        stacked(&newest_first, |path| LockedImage::open_leased(path, &layer, cancel))?.into_iter();
    let tip = layers.next().ok_or(super::ChainError::OneLayer)?;
    let size = tip.image().size();
    let above = Source::of_chain(tip, layers.collect(), size);
    above.refuse_same(stack.oldest())?;
    let old = open_old(stack.oldest(), &above, options, cancel)?;
    Ok((above, old))
}

fn open_old(
    path: &Path,
    above: &Source,
    options: &SquashOptions,
    cancel: &Cancel,
) -> Result<Target> {
    lease::refuse_writers(path, cancel)?;
    let target = TargetOptions { io: options.io, links: Links::Refuse, ..TargetOptions::default() };
    let old = open_parent(above, path, &target)?;
    // A squash that was interrupted has made it as large as the newest.
    if let Some(child) = above.layers().next_back()
        && old.image().size() != above.size()
    {
        refuse_larger(old.image(), child.image().path(), child.image().size())?;
    }
    crate::layer::check_layout(old.image())?;
    fold::check_opened(above, &old)?;
    Ok(old)
}

/// What the layers take on the disk, as far as they are there; a file of two names counts once.
fn taken_bytes(stack: &Stack) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = stack.paths().iter().filter_map(|path| std::fs::symlink_metadata(path).ok());
    let mut files: Vec<_> = files.map(|file| (file.dev(), file.ino(), file.blocks())).collect();
    files.sort_unstable();
    files.dedup();
    files.iter().map(|(_, _, blocks)| blocks * 512).sum()
}
