//! What a copy would do, from the layouts alone.

use std::fs::File;
use std::path::Path;

use super::CopyOptions;
use crate::beside::{self, directory_of, hidden};
use crate::checksum_file;
use crate::error::{Error, Result};
use crate::extent::{Kind, KindBytes, Range};
use crate::filesystem;
use crate::image::Image;
use crate::layout::{Layout, LayoutOptions, LayoutOrigin};
use crate::open::ImageOptions;
use crate::partial::PartialRecord;
use crate::reflink::{self, Reflink};
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
    #[serde(skip)]
    cloned_in: Option<u64>,
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
    let size_bytes = source.image().size();
    let mut plan = CopyPlan { size_bytes, ..CopyPlan::default() };
    plan.target_exists = Some(target.exists());
    let data = hidden(target, ".lacuna-data");
    let real = if target.exists() { beside::resolve(target)? } else { target.to_owned() };
    if target.exists() {
        let image = Image::open(target, &ImageOptions::default())?;
        image.refuse_smaller(size_bytes)?;
        plan.rest_bytes = image.is_device().then(|| image.size() - size_bytes);
        plan.cloned_in = cloned_in(&source, Some(&image), &real, options.reflink)?;
        plan.count_pairs(&source, &image)?;
    } else if data.exists() {
        let image = Image::open(&data, &ImageOptions::default())?;
        if options.resume {
            plan.resumed_bytes = resumable(&source, &image, target)?;
        }
        plan.cloned_in = cloned_in(&source, Some(&image), &real, options.reflink)?;
        plan.count_pairs(&source, &image)?;
    } else {
        plan.cloned_in = cloned_in(&source, None, target, options.reflink)?;
        plan.count_new(&source, LayoutOrigin::Fiemap)?;
    }
    // Of a device, the filesystem that its node is on says nothing.
    if plan.rest_bytes.is_none() {
        let directory = directory_of(&real);
        let opened = File::open(directory).map_err(|error| Error::io("open", directory, error))?;
        plan.free_bytes = Some(filesystem::free_bytes(&opened, directory)?);
    }
    Ok(plan)
}

/// The unit in which the target, `image` if there is one already, shares the source's space where it
/// has nothing.
fn cloned_in(
    source: &Source,
    image: Option<&Image>,
    target: &Path,
    reflink: Reflink,
) -> Result<Option<u64>> {
    let is_device = image.is_some_and(Image::is_device);
    let source = source.image();
    let is_possible = || !is_device && reflink::is_possible_in(source, directory_of(target));
    let shares = reflink::decide(reflink, source, target, is_possible)?;
    Ok(shares.then_some(source.allocation_unit()))
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
    /// Counts what is to be done with content that is there, or with a part of it.
    fn count_pairs(&mut self, source: &Source, target: &Image) -> Result<()> {
        let (origin, pairs) = compared(source.image(), target, Range::to(self.size_bytes))?;
        for pair in pairs {
            let pair = pair?;
            self.kinds.add(pair.left, pair.range.len());
            let range = pair.range.split_at(self.resumed_bytes).1;
            self.count(held_as(pair.left, origin), pair.right, range);
        }
        Ok(())
    }

    /// Counts all of `source` for a new target whose layout comes from `origin`.
    fn count_new(&mut self, source: &Source, origin: LayoutOrigin) -> Result<()> {
        for extent in Layout::new(source.image(), &LayoutOptions::default())? {
            let extent = extent?;
            self.kinds.add(extent.kind, extent.range.len());
            self.count(held_as(extent.kind, origin), Kind::Hole, extent.range);
        }
        Ok(())
    }

    fn count(&mut self, wanted: Kind, have: Kind, range: Range) {
        let (mut bytes, is_new) = (range.len(), wanted == Kind::Data && have != Kind::Data);
        if let Some(unit) = self.cloned_in.filter(|_| is_new && bytes >= reflink::SHORTEST) {
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
            (wanted, have) if wanted != have => self.cleared_bytes += bytes,
            _ => {}
        }
        if wanted.is_allocated() && !have.is_allocated() {
            self.needed_bytes += bytes;
        }
    }
}
