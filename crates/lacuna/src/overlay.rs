//! Layers on top of each other: whose is each block that is read?

use crate::error::Result;
use crate::extent::{BLOCK, Extent, Kind, MAX_OFFSET, Range};
use crate::image::Image;
use crate::layout::{Layout, LayoutOptions, rounded};
use crate::locked::LockedImage;

/// A range and the layer that it is read from.
#[derive(Clone, Copy)]
pub(crate) struct Owned<'a> {
    pub(crate) range: Range,
    pub(crate) kind: Kind,
    /// `None` where no layer has anything.
    pub(crate) owner: Option<&'a Image>,
}

impl<'a> Owned<'a> {
    /// All of `range` is the image's.
    pub(crate) fn by(image: &'a Image, range: Range) -> Self {
        Self { range, kind: Kind::Data, owner: Some(image) }
    }

    pub(crate) fn extent(&self) -> Extent {
        Extent { range: self.range, kind: self.kind }
    }

    /// Fills `buf`, which stands for the range: past the end of a shorter layer with zeros.
    pub(crate) fn read(&self, buf: &mut [u8]) -> Result<()> {
        let Some(image) = self.owner else {
            buf.fill(0);
            return Ok(());
        };
        let (there, past_the_end) = self.range.split_at(image.size());
        let (bytes, zeros) = buf.split_at_mut(there.len() as usize);
        debug_assert_eq!(zeros.len() as u64, past_the_end.len());
        zeros.fill(0);
        image.read_at(bytes, self.range.start())
    }
}

/// The layers of a chain, the newest first, over a range: streamed, without gaps, in memory that does not
/// grow with the number of extents. Neighbours may be alike.
pub(crate) struct Overlay<'a> {
    layers: Vec<Cursor<'a>>,
    rest: Range,
}

/// One layer, as far as it was looked at.
pub(crate) struct Cursor<'a> {
    image: &'a Image,
    flush: bool,
    /// Begun when the layer is first asked: most reads never come to the older ones.
    extents: Option<Box<dyn Iterator<Item = Result<Extent>> + Send + 'a>>,
    current: Extent,
}

impl<'a> Overlay<'a> {
    /// Of `range`. What is said of a layer that is not flushed is whether it has something, not what.
    pub(crate) fn new(
        layers: impl Iterator<Item = &'a LockedImage>,
        range: Range,
        flush: bool,
    ) -> Self {
        let cursor = |layer: &'a LockedImage| Cursor::new(layer.image(), range, flush);
        Self { layers: layers.map(cursor).collect(), rest: range }
    }

    /// The next range that one layer has, or none.
    fn step(&mut self) -> Result<Owned<'a>> {
        let mut end = self.rest.end();
        let mut found = None;
        for cursor in &mut self.layers {
            let extent = cursor.at(self.rest)?;
            end = end.min(extent.range.end());
            if extent.kind.is_allocated() {
                // The last block of a shorter layer stands for itself: its space cannot be shared.
                let whole = cursor.image.size() & !(BLOCK - 1);
                if whole > self.rest.start() {
                    end = end.min(whole);
                }
                found = Some((extent.kind, cursor.image));
                break;
            }
        }
        let (range, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(match found {
            Some((kind, image)) => Owned { range, kind, owner: Some(image) },
            None => Owned { range, kind: Kind::Hole, owner: None },
        })
    }
}

impl<'a> Iterator for Overlay<'a> {
    type Item = Result<Owned<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.rest = self.rest.split_at(MAX_OFFSET).1;
        }
        Some(step)
    }
}

impl<'a> Cursor<'a> {
    /// At the start of `range`.
    pub(crate) fn new(image: &'a Image, range: Range, flush: bool) -> Self {
        let current = Extent { range: range.split_at(range.start()).0, kind: Kind::Hole };
        Self { image, flush, extents: None, current }
    }

    /// What the layer has where `rest` starts: an extent that may have begun before.
    pub(crate) fn at(&mut self, rest: Range) -> Result<Extent> {
        let extents = match &mut self.extents {
            Some(extents) => extents,
            none => none.insert(extents(self.image, rest, self.flush)?),
        };
        while self.current.range.end() <= rest.start() {
            self.current = match extents.next() {
                Some(extent) => extent?,
                None => Extent { range: rest, kind: Kind::Hole },
            };
        }
        Ok(self.current)
    }
}

/// The extents of one layer in whole blocks, and a hole past its end.
fn extents<'a>(
    image: &'a Image,
    range: Range,
    flush: bool,
) -> Result<Box<dyn Iterator<Item = Result<Extent>> + Send + 'a>> {
    let (there, past_the_end) = range.round_out(BLOCK).split_at(image.size());
    let gap = Extent { range: past_the_end, kind: Kind::Hole };
    let gap = Some(Ok(gap)).filter(|_| !past_the_end.is_empty());
    if there.is_empty() {
        return Ok(Box::new(gap.into_iter()));
    }
    let layout = Layout::new(image, &LayoutOptions { range: Some(there), flush })?;
    Ok(Box::new(rounded(layout.chain(gap), BLOCK)))
}
