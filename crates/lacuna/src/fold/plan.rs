//! What a fold would do, from the layouts alone.

use std::mem::take;

use super::FoldOptions;
use super::record;
use crate::error::{Error, Result};
use crate::extent::{BLOCK, Kind, KindBytes, Range};
use crate::extent_size::{self, in_units};
use crate::filesystem::{self, free_bytes};
use crate::image::Image;
use crate::layout::{Layout, LayoutOptions, Pair, pairs, rounded, shared};
use crate::progress::Cancel;
use crate::reflink;
use crate::settle::compared;
use crate::source::Source;

/// Of what a fold with `free` writes, so much must fit at least.
const ROUND_MIN: u64 = 1 << 20;

/// Of what a fold with `free` writes, so much goes before the child gives it up, at most.
const ROUND_MAX: u64 = 64 << 20;

/// What a fold would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct FoldPlan {
    /// Size of the child, and of the parent afterwards.
    pub size_bytes: u64,
    /// The kinds of the child.
    #[serde(flatten)]
    pub kinds: KindBytes,
    /// By which the parent grows.
    pub grown_bytes: u64,
    /// Data whose space would be shared.
    pub reflink_bytes: u64,
    /// Data that would be copied.
    pub copy_bytes: u64,
    /// To be made unwritten in the parent.
    pub zero_range_bytes: u64,
    /// Space that the fold takes, at its height.
    pub needed_bytes: u64,
    /// Space that is free for it; not known of a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Whether the child gives up what the parent has.
    #[serde(skip)]
    pub(crate) freeing: bool,
}

impl FoldPlan {
    /// For two images that fit together. `is_recorded`: what must stay is written down already.
    pub(super) fn of(
        child: &Source,
        parent: &Image,
        options: &FoldOptions,
        is_recorded: bool,
        cancel: &Cancel,
    ) -> Result<Self> {
        let is_possible = || child.all(|image| reflink::is_possible(image, parent));
        let clones = reflink::decide(options.reflink, child.path(), parent.path(), is_possible)?;
        let mut plan = Self {
            size_bytes: child.size(),
            grown_bytes: child.size().saturating_sub(parent.size()),
            freeing: options.free,
            free_bytes: match parent.is_device() {
                true => None,
                false => Some(free_bytes(parent.file(), parent.path())?),
            },
            ..Self::default()
        };
        let (recorded, unit) = plan.count_moves(child, parent, clones, cancel)?;
        if !parent.is_device() && !filesystem::rewrites(parent.file(), parent.path())? {
            plan.needed_bytes += shared_bytes(child.layout(&UNFLUSHED)?, parent, clones, cancel)?;
        }
        if options.free && is_on_one_filesystem(child, parent)? {
            // What the child shares with others does not come back when it gives it up.
            let lost = lost_bytes(child, clones, cancel)?.min(plan.needed_bytes);
            plan.needed_bytes = lost + (plan.needed_bytes - lost).min(ROUND_MIN);
        }
        // The last write may need all of a unit when the others have taken their space.
        plan.needed_bytes += unit;
        if !parent.is_device() && !plan.is_empty() && !is_recorded {
            plan.needed_bytes += record::space(recorded);
        }
        Ok(plan)
    }

    /// What is shared, copied, or made unwritten, and the space that takes where the parent has
    /// nothing, or the filesystem never writes over what is there. Returns the length of what is to be
    /// recorded, and the most that the filesystem allocates at a time, in bytes.
    fn count_moves(
        &mut self,
        child: &Source,
        parent: &Image,
        clones: bool,
        cancel: &Cancel,
    ) -> Result<(u64, u64)> {
        let hint = extent_size::hint_of(parent.file());
        let rewrites = filesystem::rewrites(parent.file(), parent.path())?;
        let (mut runs, mut recorded) = (Runs::new(clones, hint), 0);
        for pair in compared(child, parent, Range::to(child.size()))?.1 {
            let pair = pair?;
            cancel.check()?;
            self.kinds.add(pair.left, pair.range.len());
            recorded += record::line_bytes(&pair);
            let is_new = match (pair.left, pair.right) {
                (Kind::Hole, _) | (Kind::Zero, Kind::Zero) => false,
                (_, right) => rewrites || right == Kind::Hole,
            };
            if pair.left == Kind::Zero && pair.right != Kind::Zero {
                self.zero_range_bytes += pair.range.len();
            }
            runs.add_layers(child, &pair, is_new)?;
        }
        runs.close();
        self.reflink_bytes = runs.cloned_bytes;
        self.copy_bytes = runs.copied_bytes;
        self.needed_bytes = runs.needed_bytes;
        Ok((recorded, runs.unit))
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.kinds.allocated_bytes() + self.grown_bytes == 0
    }

    /// Whether there is room for it, as far as that is known.
    pub fn fits(&self) -> bool {
        self.free_bytes.is_none_or(|free| self.needed_bytes <= free)
    }

    /// Fails when it cannot fit.
    pub(super) fn check_space(&self, parent: &Image) -> Result<()> {
        match self.free_bytes.filter(|_| !self.fits()) {
            Some(free) => Err(Error::NoSpace {
                path: parent.path().to_owned(),
                needed: self.needed_bytes,
                free,
                freeing: self.freeing,
            }),
            None => Ok(()),
        }
    }
}

/// Whether what the child gives up is the parent's to take.
fn is_on_one_filesystem(child: &Source, parent: &Image) -> Result<bool> {
    let device = parent.stamp()?.id.device;
    Ok(!parent.is_device() && child.layers().all(|layer| layer.stamp().id.device == device))
}

const UNFLUSHED: LayoutOptions = LayoutOptions { range: None, flush: false };

/// How much of what the child gives up its layers share with other files.
fn lost_bytes(child: &Source, clones: bool, cancel: &Cancel) -> Result<u64> {
    let mut lost = 0;
    for layer in child.layers() {
        let layout = Layout::new(layer.image(), &UNFLUSHED)?;
        lost += shared_bytes(layout, layer.image(), clones, cancel)?;
    }
    Ok(lost)
}

/// How much of what is copied, which `written` tells, `image` shares with another file.
fn shared_bytes(written: Layout<'_>, image: &Image, clones: bool, cancel: &Cancel) -> Result<u64> {
    let unit = image.allocation_unit();
    let mut runs = Runs::new(clones, 0);
    for pair in pairs(rounded(written, unit), rounded(shared(image)?, unit)) {
        let pair = pair?;
        cancel.check()?;
        runs.add(&pair, pair.left.is_allocated() && pair.right == Kind::Data);
    }
    runs.close();
    Ok(runs.needed_bytes)
}

/// Runs of data, which are cloned or copied as one, and the space that all but the clones take.
#[derive(Default)]
struct Runs<'a> {
    clones: bool,
    /// Whose the last run is, where that matters.
    owner: Option<&'a Image>,
    cloned_bytes: u64,
    copied_bytes: u64,
    needed_bytes: u64,
    /// The parent's extent size, and the most that the filesystem allocates at a time for it.
    hint: u64,
    unit: u64,
    /// The last run: where it ends, its length, and what copying it takes.
    end: u64,
    run_bytes: u64,
    run_needed: u64,
    run_unit: u64,
}

impl<'a> Runs<'a> {
    fn new(clones: bool, hint: u64) -> Self {
        Self { clones, hint, ..Self::default() }
    }

    /// Adds the next pair of a child that may have layers: no run is of two of them.
    fn add_layers(&mut self, child: &'a Source, pair: &Pair, is_new: bool) -> Result<()> {
        if !self.clones || pair.left != Kind::Data {
            self.add(pair, is_new);
            return Ok(());
        }
        for owned in child.owned(pair.range) {
            let owned = owned?;
            let is_same = |a: &Image, b: &Image| std::ptr::eq(a, b);
            if !self.owner.zip(owned.owner).is_some_and(|(a, b)| is_same(a, b)) {
                self.close();
            }
            self.owner = owned.owner;
            self.add(&Pair { range: owned.range, ..*pair }, is_new);
        }
        Ok(())
    }

    /// Adds the next pair, which takes space if it `is_new`.
    fn add(&mut self, pair: &Pair, is_new: bool) {
        let needed = if is_new { pair.range.len() } else { 0 };
        // Data that is made unwritten is freed first.
        let allocates = is_new && pair.right == Kind::Hole
            || pair.left == Kind::Zero && pair.right == Kind::Data;
        let unit = if allocates { self.unit_of(pair.range) } else { 0 };
        if pair.left != Kind::Data {
            self.needed_bytes += needed;
            self.unit = self.unit.max(unit);
            return;
        }
        if pair.range.start() != self.end {
            self.close();
        }
        self.end = pair.range.end();
        self.run_bytes += pair.range.len();
        self.run_needed += needed;
        self.run_unit = self.run_unit.max(unit);
    }

    /// What the filesystem allocates at a time for `range`, at most, beyond what is asked for.
    fn unit_of(&self, range: Range) -> u64 {
        let piece = range.split_at(range.start().saturating_add(self.hint)).0;
        if self.hint == 0 { 0 } else { in_units(piece, self.hint).len() }
    }

    /// Counts the last run.
    fn close(&mut self) {
        let (bytes, needed) = (take(&mut self.run_bytes), take(&mut self.run_needed));
        let unit = take(&mut self.run_unit);
        if self.clones && bytes >= reflink::SHORTEST {
            self.cloned_bytes += bytes;
        } else {
            self.copied_bytes += bytes;
            self.needed_bytes += needed;
            self.unit = self.unit.max(unit);
        }
    }
}

/// How much a fold with `free` is to write before the child gives it up: half of what is free, in
/// whole blocks, since a part of a block cannot be given up.
pub(super) fn round_bytes(parent: &Image) -> Result<u64> {
    let free = free_bytes(parent.file(), parent.path())?;
    Ok((free / 2).clamp(ROUND_MIN, ROUND_MAX) & !(BLOCK - 1))
}
