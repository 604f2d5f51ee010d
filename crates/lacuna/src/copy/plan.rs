//! What a copy would do, from the layouts alone.

use std::path::Path;

use rustix::fs::statvfs;

use super::CopyOptions;
use crate::beside::directory_of;
use crate::checksum_file;
use crate::error::{Error, Result};
use crate::extent::{Kind, KindBytes, Range};
use crate::image::Image;
use crate::layout::{Layout, LayoutOptions, LayoutOrigin};
use crate::open::ImageOptions;
use crate::settle::{compared, held_as};
use crate::source::Source;
use crate::target::Target;

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
    /// To be made holes, or zeros.
    pub cleared_bytes: u64,
    /// Space that the target takes more than now.
    pub needed_bytes: u64,
    /// Space that is free for it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Whether the target exists, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_exists: Option<bool>,
}

/// What copying `source` to `target` would do. Writes nothing and locks nothing but the source.
///
/// # Errors
///
/// What would be wrong with either image, as far as that shows without writing.
pub fn plan(source: &Path, target: &Path, options: &CopyOptions) -> Result<CopyPlan> {
    Target::check(target)?;
    let source = Source::open(source, &ImageOptions { io: options.io, ..ImageOptions::default() })?;
    source.refuse_same(target)?;
    source.refuse_same(&checksum_file::path_of(target))?;
    let mut plan = CopyPlan { size_bytes: source.image().size(), ..CopyPlan::default() };
    if target.exists() {
        let target = Image::open(target, &ImageOptions::default())?;
        target.refuse_smaller(source.image().size())?;
        let (origin, pairs) = compared(source.image(), &target, Range::to(source.image().size()))?;
        for pair in pairs {
            let pair = pair?;
            plan.count(pair.left, held_as(pair.left, origin), pair.right, pair.range.len());
        }
        plan.target_exists = Some(true);
    } else {
        plan.count_new(&source, LayoutOrigin::Fiemap)?;
        plan.target_exists = Some(false);
    }
    let directory = directory_of(target);
    let space = statvfs(directory)
        .map_err(|error| Error::io("stat the filesystem of", directory, error))?;
    plan.free_bytes = Some(space.f_bavail.saturating_mul(space.f_frsize));
    Ok(plan)
}

/// What sending `source` to a target that knows `Data` and `Hole` only, and has nothing yet, would
/// do, wherever that is.
///
/// # Errors
///
/// What is wrong with the source.
pub fn plan_remote(source: &Path, options: &CopyOptions) -> Result<CopyPlan> {
    let source = Source::open(source, &ImageOptions { io: options.io, ..ImageOptions::default() })?;
    let mut plan = CopyPlan { size_bytes: source.image().size(), ..CopyPlan::default() };
    plan.count_new(&source, LayoutOrigin::SeekHole)?;
    Ok(plan)
}

impl CopyPlan {
    /// Counts all of `source` for a new target whose layout comes from `origin`.
    fn count_new(&mut self, source: &Source, origin: LayoutOrigin) -> Result<()> {
        for extent in Layout::new(source.image(), &LayoutOptions::default())? {
            let extent = extent?;
            let wanted = held_as(extent.kind, origin);
            self.count(extent.kind, wanted, Kind::Hole, extent.range.len());
        }
        Ok(())
    }

    fn count(&mut self, kind: Kind, wanted: Kind, have: Kind, bytes: u64) {
        self.kinds.add(kind, bytes);
        match (wanted, have) {
            (Kind::Data, have) => {
                self.read_bytes += bytes;
                self.written_bytes_max += bytes;
                self.compared_bytes += if have == Kind::Data { bytes } else { 0 };
            }
            (wanted, have) if wanted != have => self.cleared_bytes += bytes,
            _ => {}
        }
        if wanted.is_allocated() && !have.is_allocated() {
            self.needed_bytes += bytes;
        }
    }
}
