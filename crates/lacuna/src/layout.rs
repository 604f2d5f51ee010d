//! The layout of an image: its extents in order, without gaps, from 0 to its size.

mod extents;
mod pairs;

use std::io;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::extent::{Extent, Kind, Range};
use crate::fiemap::{self, ExtentFlags, MapFlags, MappedExtent};
use crate::image::Image;
use crate::overlay::Overlay;
use crate::seek_hole;
use crate::source::Source;
use extents::{GapFree, Merged};

pub(crate) use extents::pieces;
pub use extents::rounded;
pub(crate) use pairs::joined;
pub use pairs::{Pair, pairs};

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
    pub fn of(image: &Image) -> Result<Self> {
        Ok(Layout::new(image, &LayoutOptions::NOTHING)?.origin())
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

impl LayoutOptions {
    /// Enough to see where a layout comes from.
    pub(crate) const NOTHING: Self = Self { range: Some(Range::EMPTY), flush: false };
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
    walk: Walk<'a>,
}

enum Walk<'a> {
    Image(&'a Image, Merged<GapFree<Raw<'a>>>),
    Chain(Merged<Box<dyn Iterator<Item = Result<Extent>> + Send + 'a>>),
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
        let extents = Merged::new(GapFree::new(range, raw));
        Ok(Self { origin, walk: Walk::Image(image, extents) })
    }

    /// Starts to walk what a chain shows, all of its layers at once.
    pub(crate) fn of_chain(chain: &'a Source, options: &LayoutOptions) -> Self {
        let whole = Range::to(chain.size());
        let range = options.range.map_or(whole, |range| whole.intersect(range));
        let overlay = Overlay::new(chain.layers(), range, options.flush);
        let extents = overlay.map(|owned| owned.map(|owned| owned.extent()));
        Self { origin: LayoutOrigin::Fiemap, walk: Walk::Chain(Merged::new(Box::new(extents))) }
    }

    /// Where it comes from.
    pub fn origin(&self) -> LayoutOrigin {
        self.origin
    }
}

impl Iterator for Layout<'_> {
    type Item = Result<Extent>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.walk {
            Walk::Image(image, extents) => {
                let next = extents.next()?;
                Some(next.map_err(|error| Error::io("map", image.path(), error)))
            }
            Walk::Chain(extents) => extents.next(),
        }
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
