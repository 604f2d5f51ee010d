//! The layout of an image: its extents in order, without gaps, from 0 to its size.

use std::io;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::extent::{Extent, Kind, Range};
use crate::fiemap::{self, ExtentFlags, MapFlags, MappedExtent};
use crate::image::Image;
use crate::seek_hole;

/// Where a layout comes from, and so what it can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayoutOrigin {
    /// FIEMAP: all three kinds.
    Fiemap,
    /// `SEEK_DATA` and `SEEK_HOLE`: a `Zero` range shows as a hole.
    SeekHole,
    /// A block device: everything is `Data`.
    Device,
}

impl LayoutOrigin {
    /// Where the layout of `image` comes from.
    pub(crate) fn of(image: &Image) -> Result<Self> {
        let nothing = LayoutOptions { range: Some(Range::to(0)), flush: false };
        Ok(Layout::new(image, &nothing)?.origin())
    }
}

/// What part of an image to lay out, and how.
#[derive(Clone, Copy, Debug)]
pub struct LayoutOptions {
    /// The part; the whole image when `None`.
    pub range: Option<Range>,
    /// Write dirty pages out first. Without it, delayed allocation shows as `Data` and a dirty page
    /// over an unwritten extent still as `Zero`: enough to ask what is allocated, not what is data.
    pub flush: bool,
}

impl Default for LayoutOptions {
    fn default() -> Self {
        Self { range: None, flush: true }
    }
}

/// The extents of an image, streamed: neighbours differ in kind, nothing is left out, nothing lies
/// past the size, and memory does not grow with the number of extents.
pub struct Layout<'a> {
    origin: LayoutOrigin,
    image: &'a Image,
    extents: Merged<GapFree<Raw<'a>>>,
}

impl<'a> Layout<'a> {
    /// Starts to walk `image`, by FIEMAP where the filesystem has it.
    pub fn new(image: &'a Image, options: &LayoutOptions) -> Result<Self> {
        let whole = Range::to(image.size());
        let range = options.range.map_or(whole, |range| whole.intersect(range));
        let flags = if options.flush { MapFlags::SYNC } else { MapFlags::empty() };
        let (origin, raw) = if image.is_device() {
            (LayoutOrigin::Device, Raw::Device(Some(range)))
        } else {
            match fiemap::Walk::new(image.file(), range, flags) {
                Ok(walk) => (LayoutOrigin::Fiemap, Raw::Fiemap(walk)),
                Err(error) if lacks_fiemap(&error) => {
                    if options.flush {
                        // Some filesystems look for data on the disk only.
                        image.sync()?;
                    }
                    let walk = seek_hole::Walk::new(image.file(), range);
                    (LayoutOrigin::SeekHole, Raw::SeekHole(walk))
                }
                Err(error) => return Err(Error::io("map", image.path(), error)),
            }
        };
        Ok(Self { origin, image, extents: Merged::new(GapFree::new(range, raw)) })
    }

    /// Where it comes from.
    pub fn origin(&self) -> LayoutOrigin {
        self.origin
    }
}

impl Iterator for Layout<'_> {
    type Item = Result<Extent>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.extents.next()?;
        Some(next.map_err(|error| Error::io("map", self.image.path(), error)))
    }
}

/// Gap-free like a layout: `Data` where `image` shares its space with another file, `Hole` elsewhere.
/// Only for an image whose layout comes from FIEMAP.
pub(crate) fn shared(image: &Image) -> Result<impl Iterator<Item = Result<Extent>>> {
    let failed = |error| Error::io("map", image.path(), error);
    let whole = Range::to(image.size());
    let walk = fiemap::Walk::new(image.file(), whole, MapFlags::empty()).map_err(failed)?;
    let shared = walk.filter(|mapped| match mapped {
        Ok(mapped) => mapped.flags.contains(ExtentFlags::SHARED),
        Err(_) => true,
    });
    let extents = shared.map(|mapped| extent_of(&mapped?));
    Ok(GapFree::new(whole, extents).map(move |extent| extent.map_err(failed)))
}

fn extent_of(mapped: &MappedExtent) -> io::Result<Extent> {
    let unwritten = mapped.flags.contains(ExtentFlags::UNWRITTEN);
    let range = Range::with_length(mapped.logical, mapped.length)
        .ok_or_else(|| io::Error::other("FIEMAP returned an extent that overflows"))?;
    Ok(Extent { range, kind: if unwritten { Kind::Zero } else { Kind::Data } })
}

fn lacks_fiemap(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS))
}

/// Allocated extents as a filesystem reports them.
enum Raw<'a> {
    Fiemap(fiemap::Walk<'a>),
    SeekHole(seek_hole::Walk<'a>),
    Device(Option<Range>),
}

impl Iterator for Raw<'_> {
    type Item = io::Result<Extent>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Fiemap(walk) => walk.next().map(|mapped| extent_of(&mapped?)),
            Self::SeekHole(walk) => {
                walk.next().map(|range| range.map(|range| Extent { range, kind: Kind::Data }))
            }
            Self::Device(range) => range.take().map(|range| Ok(Extent { range, kind: Kind::Data })),
        }
    }
}

/// Fills the gaps between allocated extents with holes and cuts what lies outside a range.
///
/// An extent that reaches back over what was already passed (the file changed between two batches)
/// counts only from there on.
struct GapFree<I> {
    extents: I,
    rest: Range,
    held: Option<Extent>,
}

impl<I> GapFree<I> {
    fn new(range: Range, extents: I) -> Self {
        Self { extents, rest: range, held: None }
    }

    fn take_to(&mut self, offset: u64, kind: Kind) -> Extent {
        let (range, rest) = self.rest.split_at(offset);
        self.rest = rest;
        Extent { range, kind }
    }
}

impl<E, I: Iterator<Item = Result<Extent, E>>> Iterator for GapFree<I> {
    type Item = Result<Extent, E>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let next = match self.held.take() {
                Some(extent) => Some(Ok(extent)),
                None => self.extents.next(),
            };
            let extent = match next {
                Some(Ok(extent)) => extent,
                Some(Err(error)) => return Some(Err(error)),
                None => return Some(Ok(self.take_to(self.rest.end(), Kind::Hole))),
            };
            if extent.range.start() > self.rest.start() {
                self.held = Some(extent);
                return Some(Ok(self.take_to(extent.range.start(), Kind::Hole)));
            }
            if extent.range.end() > self.rest.start() {
                return Some(Ok(self.take_to(extent.range.end(), extent.kind)));
            }
        }
        None
    }
}

/// Joins neighbours of one kind.
struct Merged<I> {
    extents: I,
    current: Option<Extent>,
}

impl<I> Merged<I> {
    fn new(extents: I) -> Self {
        Self { extents, current: None }
    }
}

impl<E, I: Iterator<Item = Result<Extent, E>>> Iterator for Merged<I> {
    type Item = Result<Extent, E>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let extent = match self.extents.next() {
                Some(Ok(extent)) => extent,
                Some(Err(error)) => return Some(Err(error)),
                None => return self.current.take().map(Ok),
            };
            match &mut self.current {
                Some(current) if current.kind == extent.kind => {
                    current.range = current.range.through(extent.range);
                }
                current => {
                    if let Some(done) = current.replace(extent) {
                        return Some(Ok(done));
                    }
                }
            }
        }
    }
}

/// Rounds the extents of a gap-free layout outward to multiples of `unit`, a power of two: a unit has
/// the strongest kind within it. For comparing layouts of filesystems with different blocks.
pub fn rounded<E>(
    extents: impl Iterator<Item = Result<Extent, E>>,
    unit: u64,
) -> impl Iterator<Item = Result<Extent, E>> {
    Merged::new(Rounded { extents, unit, open: None, held: None })
}

struct Rounded<I> {
    extents: I,
    unit: u64,
    /// The part seen so far of a unit that the last extent did not fill.
    open: Option<Extent>,
    held: Option<Extent>,
}

impl<E, I: Iterator<Item = Result<Extent, E>>> Iterator for Rounded<I> {
    type Item = Result<Extent, E>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = self.held.take().map(Ok).or_else(|| self.extents.next());
            let mut extent = match next {
                Some(Ok(extent)) => extent,
                Some(Err(error)) => return Some(Err(error)),
                None => return self.open.take().map(Ok),
            };
            if let Some(open) = self.open.take() {
                let unit_end = open.range.round_out(self.unit).end();
                let (within, after) = extent.range.split_at(unit_end);
                let range = open.range.through(within);
                let kind = open.kind.max(extent.kind);
                if after.is_empty() && within.end() < unit_end {
                    self.open = Some(Extent { range, kind });
                    continue;
                }
                if !after.is_empty() {
                    self.held = Some(Extent { range: after, kind: extent.kind });
                }
                return Some(Ok(Extent { range, kind }));
            }
            let (whole, tail) = extent.range.split_at(extent.range.end() & !(self.unit - 1));
            if !tail.is_empty() {
                self.open = Some(Extent { range: tail, kind: extent.kind });
            }
            extent.range = whole;
            if !whole.is_empty() {
                return Some(Ok(extent));
            }
        }
    }
}

/// Cuts extents into pieces, each of at most as many bytes as `length` says for its kind.
pub(crate) fn pieces<E>(
    mut extents: impl Iterator<Item = Result<Extent, E>>,
    length: impl Fn(Kind) -> u64,
) -> impl Iterator<Item = Result<Extent, E>> {
    let mut rest: Option<Extent> = None;
    std::iter::from_fn(move || {
        let extent = match rest.take().map(Ok).or_else(|| extents.next())? {
            Ok(extent) => extent,
            Err(error) => return Some(Err(error)),
        };
        let end = extent.range.start().saturating_add(length(extent.kind));
        let (range, after) = extent.range.split_at(end);
        rest = (!after.is_empty()).then_some(Extent { range: after, ..extent });
        Some(Ok(Extent { range, ..extent }))
    })
}

/// One range with the kinds that two layouts give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Where.
    pub range: Range,
    /// The kind in the first layout.
    pub left: Kind,
    /// The kind in the second layout.
    pub right: Kind,
}

/// Joins neighbours with the same kinds.
pub(crate) fn joined(
    mut pairs: impl Iterator<Item = Result<Pair>>,
) -> impl Iterator<Item = Result<Pair>> {
    let mut run: Option<Pair> = None;
    std::iter::from_fn(move || {
        for pair in pairs.by_ref() {
            let pair = match pair {
                Ok(pair) => pair,
                Err(error) => return Some(Err(error)),
            };
            let next_to = |run: &&mut Pair| {
                (run.left, run.right, run.range.end())
                    == (pair.left, pair.right, pair.range.start())
            };
            match run.as_mut().filter(next_to) {
                Some(run) => run.range = run.range.through(pair.range),
                None => {
                    if let Some(done) = run.replace(pair) {
                        return Some(Ok(done));
                    }
                }
            }
        }
        run.take().map(Ok)
    })
}

/// Walks two gap-free layouts of the same range side by side; where one ends before the other, it
/// counts as a hole.
pub fn pairs<E>(
    left: impl Iterator<Item = Result<Extent, E>>,
    right: impl Iterator<Item = Result<Extent, E>>,
) -> impl Iterator<Item = Result<Pair, E>> {
    let (mut left, mut right) = (left.fuse(), right.fuse());
    let (mut a, mut b): (Option<Extent>, Option<Extent>) = (None, None);
    std::iter::from_fn(move || {
        if a.is_none() {
            match left.next().transpose() {
                Ok(next) => a = next,
                Err(error) => return Some(Err(error)),
            }
        }
        if b.is_none() {
            match right.next().transpose() {
                Ok(next) => b = next,
                Err(error) => return Some(Err(error)),
            }
        }
        let end = match (a, b) {
            (Some(a), Some(b)) => a.range.end().min(b.range.end()),
            (Some(only), None) | (None, Some(only)) => only.range.end(),
            (None, None) => return None,
        };
        let range = a.or(b)?.range.split_at(end).0;
        let kind = |extent: Option<Extent>| extent.map_or(Kind::Hole, |extent| extent.kind);
        let pair = Pair { range, left: kind(a), right: kind(b) };
        for side in [&mut a, &mut b] {
            *side = side.and_then(|extent| {
                let range = extent.range.split_at(end).1;
                (!range.is_empty()).then_some(Extent { range, ..extent })
            });
        }
        Some(Ok(pair))
    })
}

#[cfg(test)]
mod tests;
