//! What a copy would do, from the layouts alone.

use std::path::Path;

use super::CopyOptions;
use crate::beside::directory_of;
use crate::checksum_file;
use crate::error::Result;
use crate::extent::{Kind, KindBytes, Range};
use crate::image::Image;
use crate::layout::{LayoutOptions, LayoutOrigin, Pair, pairs, rounded};
use crate::partial::PartialRecord;
use crate::reflink;
use crate::settle::held_as;
use crate::source::Source;
use crate::target::{PlannedTarget, TargetOptions};

/// What a copy would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CopyPlan {
    /// Size of the source.
    pub size_bytes: u64,
    /// The kinds of the source.
    #[serde(flatten)]
    pub kinds: KindBytes,
    /// To be read from the source.
    pub read_bytes: u64,
    /// To be read from the target and compared.
    pub compared_bytes: u64,
    /// To be written at most: what is equal is not.
    pub written_bytes_max: u64,
    /// Exactly that, where it was found out by comparing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
    /// To share the source's space instead.
    pub reflink_bytes: u64,
    /// To be made holes, or zeros.
    pub cleared_bytes: u64,
    /// Space that the target takes more than now.
    pub needed_bytes: u64,
    /// At the start of the image, to be taken over from an interrupted copy.
    pub resumed_bytes: u64,
    /// Space that is free for it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// What a target device has behind the source's size, to be left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest_bytes: Option<u64>,
    /// Whether the target exists, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_exists: Option<bool>,
}

/// What copying `source` to `target` would do. Writes nothing and locks nothing but the source.
///
/// # Errors
///
/// What would be wrong with either image, as far as that shows without writing.
pub fn plan(source: &Source, target: &Path, options: &CopyOptions) -> Result<CopyPlan> {
    let ends = Ends::open(source, target, options)?;
    let mut plan = ends.begin()?;
    for pair in ends.pairs()? {
        ends.count(&mut plan, &pair?)?;
    }
    Ok(plan)
}

/// What sending `source` to a target that knows `Data` and `Hole` only, and has nothing yet, would
/// do, wherever that is.
///
/// # Errors
///
/// What is wrong with the source.
pub fn plan_remote(source: &Source) -> Result<CopyPlan> {
    let mut plan = CopyPlan { size_bytes: source.size(), ..CopyPlan::default() };
    for extent in source.layout(&LayoutOptions::default())? {
        let extent = extent?;
        let pair = Pair { range: extent.range, left: extent.kind, right: Kind::Hole };
        plan.count(&pair, LayoutOrigin::SeekHole, None);
    }
    Ok(plan)
}

/// The two ends of a copy that is not made.
pub(super) struct Ends<'a> {
    pub(super) source: &'a Source,
    pub(super) target: PlannedTarget,
    /// The unit in which the target shares the source's space where it has nothing, if it does.
    cloned_in: Option<u64>,
}

impl<'a> Ends<'a> {
    pub(super) fn open(source: &'a Source, target: &Path, options: &CopyOptions) -> Result<Self> {
        let (io, resume) = (options.io, options.resume);
        let open = TargetOptions { io, resume, ..TargetOptions::default() };
        let planned = PlannedTarget::open(target, &open)?;
        source.refuse_same(target)?;
        source.refuse_same(&checksum_file::path_of(target))?;
        let directory = directory_of(planned.path());
        let is_possible = || {
            !planned.is_device() && source.all(|image| reflink::is_possible_in(image, directory))
        };
        let shares = reflink::decide(options.reflink, source.path(), planned.path(), is_possible)?;
        let cloned_in = shares.then_some(source.allocation_unit());
        Ok(Self { source, target: planned, cloned_in })
    }

    /// A plan that nothing is counted in yet.
    pub(super) fn begin(&self) -> Result<CopyPlan> {
        let mut plan = CopyPlan::begin(&self.target, self.source.size())?;
        let part = self.target.image().filter(|_| !self.target.exists());
        if let Some(part) = part {
            plan.resumed_bytes = resumable(self.source, part, self.target.path())?;
        }
        Ok(plan)
    }

    /// Both layouts side by side, in the target's unit of allocation.
    pub(super) fn pairs(&self) -> Result<impl Iterator<Item = Result<Pair>>> {
        let source = self.source.layout(&LayoutOptions::default())?;
        let whole = Some(Range::to(self.source.size()));
        let target = self.target.layout(LayoutOptions { range: whole, flush: true })?;
        Ok(pairs(rounded(source, self.target.allocation_unit()), target))
    }

    /// What of `pair` is shared is shared layer by layer.
    pub(super) fn count(&self, plan: &mut CopyPlan, pair: &Pair) -> Result<()> {
        if self.cloned_in.is_none() {
            plan.count(pair, self.target.origin(), None);
            return Ok(());
        }
        for owned in self.source.owned(pair.range) {
            let pair = Pair { range: owned?.range, ..*pair };
            plan.count(&pair, self.target.origin(), self.cloned_in);
        }
        Ok(())
    }
}

/// How much of `source` the part that an interrupted copy left has for certain.
fn resumable(source: &Source, part: &Image, target: &Path) -> Result<u64> {
    let stamp = part.stamp()?;
    let record = PartialRecord::read(target)?;
    let record = record.filter(|record| {
        record.is_for(stamp.id, source.stamp()) && stamp.size == source.stamp().size
    });
    Ok(record.map_or(0, |record| record.done_bytes))
}

impl CopyPlan {
    /// A plan to make `target` what a source of `size_bytes` is, of which nothing is counted yet.
    ///
    /// # Errors
    ///
    /// [`Error::TooSmall`](crate::Error::TooSmall), or the system's.
    pub fn begin(target: &PlannedTarget, size_bytes: u64) -> Result<Self> {
        Ok(Self {
            size_bytes,
            free_bytes: target.free_bytes()?,
            rest_bytes: target.rest_bytes(size_bytes)?,
            target_exists: Some(target.exists()),
            ..Self::default()
        })
    }

    /// Counts what is to be done in the range of `pair`: `left` is the kind of the source, `right` that
    /// of a target whose layout comes from `origin`. Where the target has nothing, long runs share the
    /// space of the source, in units of `cloned_in`.
    pub fn count(&mut self, pair: &Pair, origin: LayoutOrigin, cloned_in: Option<u64>) {
        self.kinds.add(pair.left, pair.range.len());
        let range = pair.range.split_at(self.resumed_bytes).1;
        let (wanted, have) = (held_as(pair.left, origin), pair.right);
        let (mut bytes, is_new) = (range.len(), wanted == Kind::Data && have != Kind::Data);
        if let Some(unit) = cloned_in.filter(|_| is_new && bytes >= reflink::SHORTEST) {
            // A partial tail is copied.
            let (cloned, tail) = range.split_at(range.end() & !(unit - 1));
            self.reflink_bytes += cloned.len();
            bytes = tail.len();
        }
        match (wanted, have) {
            (Kind::Data, have) => {
                self.read_bytes += bytes;
                self.written_bytes_max += bytes;
                self.compared_bytes += if have == Kind::Data { bytes } else { 0 };
            }
            (wanted, have) if wanted != have => {
                self.cleared_bytes += bytes;
                // What a device has there is read, and cleared where it is not zeros.
                self.compared_bytes += if origin == LayoutOrigin::Device { bytes } else { 0 };
            }
            _ => {}
        }
        if wanted.is_allocated() && !have.is_allocated() {
            self.needed_bytes += bytes;
        }
    }

    /// Counts what another plan, of another part of the same image, has counted.
    pub fn merge(&mut self, part: &Self) {
        self.kinds.merge(part.kinds);
        self.read_bytes += part.read_bytes;
        self.compared_bytes += part.compared_bytes;
        self.written_bytes_max += part.written_bytes_max;
        self.reflink_bytes += part.reflink_bytes;
        self.cleared_bytes += part.cleared_bytes;
        self.needed_bytes += part.needed_bytes;
    }
}
