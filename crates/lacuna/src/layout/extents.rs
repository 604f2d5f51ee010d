//! Streams of extents: gaps filled, neighbours joined, ends rounded, long ones cut.

use crate::extent::{Extent, Kind, Range};

/// Fills the gaps between allocated extents with holes and cuts what lies outside a range.
///
/// An extent that reaches back over what was already passed (the file changed between two batches)
/// counts only from there on.
pub(super) struct GapFree<I> {
    extents: I,
    rest: Range,
    held: Option<Extent>,
}

impl<I> GapFree<I> {
    pub(super) fn new(range: Range, extents: I) -> Self {
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
            let next = self.held.take().map(Ok).or_else(|| self.extents.next());
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
pub(super) struct Merged<I> {
    extents: I,
    current: Option<Extent>,
}

impl<I> Merged<I> {
    pub(super) fn new(extents: I) -> Self {
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
            let extent = match next {
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
            if !whole.is_empty() {
                return Some(Ok(Extent { range: whole, ..extent }));
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

#[cfg(test)]
mod tests;
