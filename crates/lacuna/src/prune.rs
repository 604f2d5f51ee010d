//! Prune: what a child layer hides goes out of its parent.
//!
//! The chain reads the same at every instant: nothing that is punched can be seen through the child,
//! whose data is made durable first.

use std::path::Path;

use crate::error::{Error, Result};
use crate::extent::{Kind, Range};
use crate::image::{Image, LONGEST_CLEAR};
use crate::layer::{self, LayerOptions};
use crate::layout::{Pair, joined};
use crate::mark;
use crate::open::{Access, IoMode};
use crate::progress::{Cancel, Progress};
use crate::settle::{compared, mend};
use crate::source::Source;
use crate::stopped::{Kept, Stopped};
use crate::target::Target;

const MARK: &str = "A lacuna prune was punching holes into the image beside this file and has not finished. The\n\
    chain is whole. Repeat the prune, or remove this file: both are safe.\n";

/// How to prune.
#[derive(Clone, Copy, Debug, Default)]
pub struct PruneOptions {
    /// Prune although the chain says that these are not a child and its parent.
    pub force_layer: bool,
}

/// What a prune would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PrunePlan {
    /// Size of the child, and of the parent afterwards.
    pub size_bytes: u64,
    /// Of the parent, hidden by the child: to be punched.
    pub hidden_bytes: u64,
    /// In so many ranges.
    pub hidden_ranges: u64,
}

/// What a prune did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PruneStats {
    /// Size of both afterwards.
    pub size_bytes: u64,
    /// Of the parent, hidden by the child: punched.
    pub hidden_bytes: u64,
    /// In so many ranges.
    pub hidden_ranges: u64,
    /// By which the parent takes less space; what another file shares of it is not free.
    pub reclaimed_bytes: u64,
}

/// What pruning `parent` under `child` would do. Writes nothing.
///
/// # Errors
///
/// What would be wrong with either, as far as that shows without writing.
pub fn plan(parent: &Path, child: &Path, options: &PruneOptions) -> Result<PrunePlan> {
    let cancel = Cancel::default();
    let (child, parent) = open(parent, child, options, &cancel)?;
    plan_of(&child, parent.image(), &cancel)
}

fn plan_of(child: &Source, parent: &Image, cancel: &Cancel) -> Result<PrunePlan> {
    let mut plan = PrunePlan { size_bytes: child.size(), ..PrunePlan::default() };
    for range in hidden(child, parent)? {
        cancel.check()?;
        plan.hidden_bytes += range?.len();
        plan.hidden_ranges += 1;
    }
    Ok(plan)
}

fn open(
    parent: &Path,
    child: &Path,
    options: &PruneOptions,
    cancel: &Cancel,
) -> Result<(Source, Target)> {
    let options =
        LayerOptions { io: IoMode::Buffered, child: Access::Read, force: options.force_layer };
    let (child, parent) = layer::open_pair(child, parent, &options, cancel)?;
    layer::check_layout(parent.image())?;
    refuse_other_mark(&parent)?;
    Ok((child, parent))
}

/// Punches out of `parent` what `child` hides: durable when this returns, to be repeated when it fails.
///
/// # Errors
///
/// Whatever can be wrong with either image, and [`Error::Cancelled`].
pub fn apply(
    parent: &Path,
    child: &Path,
    options: &PruneOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<PruneStats, Stopped> {
    let (child, mut parent) = open(parent, child, options, cancel)?;
    let plan = plan_of(&child, parent.image(), cancel)?;
    progress.total_bytes.set(plan.hidden_bytes);
    let before = parent.image().allocated_bytes()?;
    let pruned = run(&child, &mut parent, &plan, progress, cancel);
    if let Err(cause) = pruned.and_then(|()| parent.commit()) {
        let kept = match parent.is_written() {
            false => Kept::Nothing,
            true => Kept::HalfPruned(parent.path().to_owned()),
        };
        return Err(Stopped { cause, kept });
    }
    progress.finish();
    let PrunePlan { size_bytes, hidden_bytes, hidden_ranges } = plan;
    let reclaimed_bytes = before.saturating_sub(parent.image().allocated_bytes()?);
    Ok(PruneStats { size_bytes, hidden_bytes, hidden_ranges, reclaimed_bytes })
}

/// All but the commit.
fn run(
    child: &Source,
    parent: &mut Target,
    plan: &PrunePlan,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<()> {
    cancel.check()?;
    let size = plan.size_bytes.max(parent.image().size());
    if plan.hidden_bytes == 0 && size == parent.image().size() && !parent.is_marked() {
        return Ok(());
    }
    child.tip().sync()?;
    parent.mark(|out| {
        let path = mark::of(parent.path());
        out.write_all(MARK.as_bytes()).map_err(|error| Error::io("write", &path, error))
    })?;
    parent.resize(size)?;
    for range in hidden(child, parent.image())? {
        for piece in range?.pieces(LONGEST_CLEAR) {
            cancel.check()?;
            child.watch()?;
            parent.punch(piece)?;
            progress.done_bytes.add(piece.len());
        }
    }
    parent.image().sync()?;
    mend(parent, cancel, || {
        let parent = parent.image();
        let pairs = compared(child, parent, Range::to(child.size()))?.1;
        let watched = pairs.map(|pair| child.watch().and(pair));
        Ok(watched.filter_map(|pair| match pair {
            Ok(pair) if pair.left == Kind::Hole => None,
            pair => Some(pair.map(|pair| Pair { left: Kind::Hole, ..pair })),
        }))
    })?;
    child.check()
}

/// Fails when something else than a prune was interrupted at the parent.
fn refuse_other_mark(parent: &Target) -> Result<()> {
    if !parent.is_marked() {
        return Ok(());
    }
    let path = mark::of(parent.path());
    let text = crate::beside::read_limited(&path, MARK.len() as u64);
    match text {
        Ok(text) if text == MARK.as_bytes() => Ok(()),
        _ => Err(Error::Unfinished { path: parent.path().to_owned(), mark: path }),
    }
}

/// Runs of blocks that both have.
fn hidden<'a>(
    child: &'a Source,
    parent: &'a Image,
) -> Result<impl Iterator<Item = Result<Range>> + 'a> {
    let pairs = compared(child, parent, Range::to(child.size()))?.1;
    let both = pairs.filter_map(|pair| match pair {
        Ok(Pair { left, right, .. }) if !left.is_allocated() || !right.is_allocated() => None,
        pair => Some(pair.map(|pair| Pair { left: Kind::Data, right: Kind::Data, ..pair })),
    });
    Ok(joined(both).map(|pair| pair.map(|pair| pair.range)))
}
