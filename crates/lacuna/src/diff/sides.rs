//! The two images of a diff, cut into pieces and compared.

use std::collections::VecDeque;

use super::{DiffStats, Difference};
use crate::aligned_buf::AlignedBuf;
use crate::error::Result;
use crate::extent::{BLOCK, Extent, Kind, Range};
use crate::layout::{LayoutOptions, LayoutOrigin, Pair, pairs, rounded};
use crate::progress::Cancel;
use crate::sharing;
use crate::source::Source;

/// Bytes that a thread takes at a time.
const PIECE: u64 = 8 << 20;

/// Bytes of it that are read and compared at a time: both sides of a few threads fit in a
/// processor's cache.
const PART: u64 = 512 << 10;

/// Bytes that are looked up on the disk at a time, so that their extents fit in memory.
const REGION: u64 = 256 << 20;

/// What a thread reads the two sides into.
type Buffers = (AlignedBuf, AlignedBuf);

pub(super) fn buffers() -> Buffers {
    (AlignedBuf::new(PART as usize), AlignedBuf::new(PART as usize))
}

/// The two images.
pub(super) struct Sides<'a> {
    left: &'a Source,
    right: &'a Source,
    /// Up to where both reach.
    common: Range,
    origins: (LayoutOrigin, LayoutOrigin),
}

/// A few blocks to be compared.
pub(super) struct Piece {
    pair: Pair,
    /// Both are at one place on the disk.
    shared: bool,
}

/// What came out of a piece.
#[derive(Default)]
pub(super) struct Compared {
    pub(super) differences: Vec<Difference>,
    pub(super) read: u64,
    pub(super) shared: u64,
}

impl<'a> Sides<'a> {
    pub(super) fn of(left: &'a Source, right: &'a Source) -> Result<Self> {
        let common = Range::to(left.size().min(right.size()));
        let origins = (origin(left)?, origin(right)?);
        Ok(Self { left, right, common, origins })
    }

    /// What is known before anything is compared.
    pub(super) fn stats(&self) -> DiffStats {
        DiffStats {
            left_size_bytes: self.left.size(),
            right_size_bytes: self.right.size(),
            kinds_compared: self.shows_all_kinds(),
            ..DiffStats::default()
        }
    }

    fn shows_all_kinds(&self) -> bool {
        self.origins == (LayoutOrigin::Fiemap, LayoutOrigin::Fiemap)
    }

    /// The larger of the two blocks: a smaller one has no kind of its own there.
    fn unit(&self) -> u64 {
        self.left.allocation_unit().max(self.right.allocation_unit())
    }

    /// Both layouts where both reach, in whole units.
    fn pairs(&self) -> Result<impl Iterator<Item = Result<Pair>>> {
        // The kind of the last unit is that of all of it, also in the image that goes on.
        let whole = Some(self.common.round_out(self.unit()));
        let options = LayoutOptions { range: whole, flush: true };
        let left = rounded(self.left.layout(&options)?, self.unit());
        let right = rounded(self.right.layout(&options)?, self.unit());
        let common = self.common;
        let within = move |pair: Pair| Pair { range: common.intersect(pair.range), ..pair };
        let pairs = pairs(left, right).map(move |pair| pair.map(within));
        Ok(pairs.filter(|pair| !matches!(pair, Ok(pair) if pair.range.is_empty())))
    }

    /// The pairs cut into pieces; what is not read, or is at one place on the disk, goes in one.
    pub(super) fn pieces(&self) -> Result<impl Iterator<Item = Result<Piece>>> {
        let mut pairs = self.pairs()?;
        let (mut rest, mut ready): (Option<Pair>, VecDeque<Piece>) = (None, VecDeque::new());
        Ok(std::iter::from_fn(move || {
            if let Some(piece) = ready.pop_front() {
                return Some(Ok(piece));
            }
            let pair = match rest.take().map(Ok).or_else(|| pairs.next())? {
                Ok(pair) => pair,
                Err(error) => return Some(Err(error)),
            };
            if !pair.has_data() {
                return Some(Ok(Piece { pair, shared: false }));
            }
            let (region, after) = pair.range.split_at(pair.range.start() + REGION);
            rest = (!after.is_empty()).then_some(Pair { range: after, ..pair });
            let region = Pair { range: region, ..pair };
            match self.unshared(&region) {
                Ok(unshared) => ready.extend(cut(region, unshared)),
                Err(error) => return Some(Err(error)),
            }
            ready.pop_front().map(Ok)
        }))
    }

    fn unshared(&self, pair: &Pair) -> Result<Vec<Range>> {
        let both = (pair.left, pair.right) == (Kind::Data, Kind::Data);
        match (self.left.image(), self.right.image()) {
            (Some(left), Some(right)) if both && self.shows_all_kinds() => {
                sharing::unshared(left, right, pair.range)
            }
            _ => Ok(vec![pair.range]),
        }
    }

    /// Whether these two kinds differ, as far as both images can show.
    fn kinds_differ(&self, left: Kind, right: Kind) -> bool {
        match self.origins {
            (LayoutOrigin::Device, _) | (_, LayoutOrigin::Device) => false,
            (LayoutOrigin::Fiemap, LayoutOrigin::Fiemap) => left != right,
            _ => left != right && left != Kind::Zero && right != Kind::Zero,
        }
    }

    pub(super) fn compare(
        &self,
        piece: &Piece,
        buffers: &mut Buffers,
        cancel: &Cancel,
    ) -> Result<Compared> {
        let pair = piece.pair;
        let mut compared = Compared::default();
        if !piece.shared && pair.has_data() {
            for range in pair.range.pieces(PART) {
                cancel.check()?;
                self.compare_part(Pair { range, ..pair }, buffers, &mut compared)?;
            }
            return Ok(compared);
        }
        if self.kinds_differ(pair.left, pair.right) {
            compared.add(&pair, pair.range, false);
        }
        if piece.shared {
            compared.shared = pair.range.len();
        }
        Ok(compared)
    }

    fn compare_part(
        &self,
        pair: Pair,
        (a, b): &mut Buffers,
        compared: &mut Compared,
    ) -> Result<()> {
        let (range, length) = (pair.range, pair.range.len() as usize);
        let sides = [(self.left, pair.left, &mut *a), (self.right, pair.right, &mut *b)];
        for (source, kind, buf) in sides {
            match kind {
                Kind::Data => {
                    source.read_at(&mut buf[..length], range.start())?;
                    source.watch()?;
                    compared.read += range.len();
                }
                Kind::Zero | Kind::Hole => buf[..length].fill(0),
            }
        }
        let kinds = self.kinds_differ(pair.left, pair.right);
        if !kinds && a[..length] == b[..length] {
            return Ok(());
        }
        let differs = |block: Range| a[block.within(range)] != b[block.within(range)];
        for (run, content) in range.runs(BLOCK, differs) {
            if content || kinds {
                compared.add(&pair, run, content);
            }
        }
        Ok(())
    }

    /// Fails when one of them did not stay as it was; leaves the page cache.
    pub(super) fn finish(&self) -> Result<()> {
        for source in [self.left, self.right] {
            source.check()?;
            source.drop_cache();
        }
        Ok(())
    }

    /// What only the longer one has.
    pub(super) fn past_end(&self) -> Result<impl Iterator<Item = Result<Difference>>> {
        let left_is_longer = self.left.size() > self.right.size();
        let longer = if left_is_longer { self.left } else { self.right };
        let (end, unit) = (self.common.end(), self.unit());
        let rest = Range::to(longer.size()).split_at(end & !(unit - 1)).1;
        let options = LayoutOptions { range: Some(rest), flush: true };
        let differences = rounded(longer.layout(&options)?, unit).map(move |extent| {
            let Extent { range, kind } = extent?;
            let (left, right) = match left_is_longer {
                true => (Some(kind), None),
                false => (None, Some(kind)),
            };
            Ok(Difference { range: range.split_at(end).1, left, right, content: false })
        });
        Ok(differences.filter(|found| !matches!(found, Ok(found) if found.range.is_empty())))
    }
}

impl Piece {
    /// In both images together.
    pub(super) fn allocated_bytes(&self) -> u64 {
        let kinds = [self.pair.left, self.pair.right];
        let sides = kinds.iter().filter(|kind| kind.is_allocated()).count();
        sides as u64 * self.pair.range.len()
    }
}

impl Compared {
    fn add(&mut self, pair: &Pair, range: Range, content: bool) {
        let (left, right) = (Some(pair.left), Some(pair.right));
        self.differences.push(Difference { range, left, right, content });
    }
}

fn origin(source: &Source) -> Result<LayoutOrigin> {
    Ok(source.layout(&LayoutOptions::NOTHING)?.origin())
}

/// Pieces of what is not shared, and what is shared whole.
fn cut(pair: Pair, unshared: Vec<Range>) -> Vec<Piece> {
    let (mut pieces, mut reached) = (vec![], pair.range.start());
    let mut add = |range: Range, shared| {
        if !range.is_empty() {
            pieces.push(Piece { pair: Pair { range, ..pair }, shared });
        }
    };
    for range in unshared {
        if let Some(before) = Range::new(reached, range.start()) {
            add(before, true);
        }
        range.pieces(PIECE).for_each(|piece| add(piece, false));
        reached = range.end();
    }
    add(pair.range.split_at(reached).1, true);
    pieces
}
