//! Diff: where two images differ, in content or in kind.

use std::collections::VecDeque;
use std::path::Path;

use crate::aligned_buf::AlignedBuf;
use crate::error::Result;
use crate::extent::{BLOCK, Kind, Range};
use crate::layout::{Layout, LayoutOptions, LayoutOrigin, Pair, pairs, rounded};
use crate::open::{ImageOptions, IoMode};
use crate::ordered::in_order;
use crate::progress::{Cancel, Progress};
use crate::sharing;
use crate::source::Source;

/// Bytes that a thread takes at a time.
const PIECE: u64 = 8 << 20;

/// Bytes of it that are read and compared at a time: both sides of a few threads fit in a
/// processor's cache.
const PART: u64 = 512 << 10;

/// Bytes that are looked up on the disk at a time, so that their extents fit in memory.
const REGION: u64 = 256 << 20;

/// How to compare.
#[derive(Clone, Copy, Debug)]
pub struct DiffOptions {
    /// Direct or buffered, at both.
    pub io: IoMode,
    /// Ranges that are compared at the same time.
    pub threads: usize,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self { io: IoMode::default(), threads: 2 }
    }
}

/// A range in which two images differ, whole blocks but for the end of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub range: Range,
    /// The kind in the first image; `None` past its end.
    pub left: Option<Kind>,
    /// The kind in the second image; `None` past its end.
    pub right: Option<Kind>,
    /// Whether the bytes differ, too. What lies past the end of one image does not count.
    pub content: bool,
}

/// What a diff found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DiffStats {
    /// Size of the first image.
    pub left_size_bytes: u64,
    /// Size of the second image.
    pub right_size_bytes: u64,
    /// In blocks whose bytes differ.
    pub content_bytes: u64,
    /// In blocks whose bytes are equal and whose kinds are not.
    pub kind_bytes: u64,
    /// Past the end of the shorter image.
    pub past_end_bytes: u64,
    /// Ranges that differ.
    pub ranges: u64,
    /// Read from both together.
    pub read_bytes: u64,
    /// Known to be equal without reading, because both are at one place on the disk.
    pub shared_bytes: u64,
    /// Whether the kinds were compared, all three: a device has none, and some filesystems show two.
    pub kinds_compared: bool,
}

impl DiffStats {
    /// Whether nothing differs.
    pub fn is_same(&self) -> bool {
        self.ranges == 0
    }
}

/// Compares two images, and hands every range in which they differ to `found`, in order.
///
/// # Errors
///
/// Whatever can be wrong with either, what `found` returns, and [`Error::Changed`](crate::Error::Changed)
/// when one does not stay as it is.
pub fn diff(
    left: &Path,
    right: &Path,
    options: &DiffOptions,
    progress: &Progress,
    cancel: &Cancel,
    found: impl FnMut(&Difference) -> Result<()>,
) -> Result<DiffStats> {
    let image = ImageOptions { io: options.io, ..ImageOptions::default() };
    let sides = Sides::open(Source::open(left, &image)?, Source::open(right, &image)?)?;
    let total = sides.left.image().allocated_bytes()? + sides.right.image().allocated_bytes()?;
    progress.total_bytes.set(total);
    let mut report = Report::new(&sides, found);
    let buf = || AlignedBuf::new(PART as usize);
    in_order(
        options.threads,
        sides.pieces()?,
        || (buf(), buf()),
        |bufs, piece| {
            cancel.check()?;
            let compared = sides.compare(&piece, bufs, cancel);
            let Pair { range, left, right } = piece.pair;
            for kind in [left, right] {
                progress.done_bytes.add(if kind.is_allocated() { range.len() } else { 0 });
            }
            compared
        },
        |compared| report.take(compared),
    )?;
    for source in [&sides.left, &sides.right] {
        source.check()?;
        source.image().drop_cache();
    }
    let stats = report.end(cancel)?;
    progress.finish();
    Ok(stats)
}

/// The two images.
struct Sides {
    left: Source,
    right: Source,
    /// Up to where both reach.
    common: Range,
    origins: (LayoutOrigin, LayoutOrigin),
}

/// A few blocks to be compared.
struct Piece {
    pair: Pair,
    /// Both are at one place on the disk.
    shared: bool,
}

/// What came out of a piece.
struct Compared {
    differences: Vec<Difference>,
    read: u64,
    shared: u64,
}

impl Sides {
    fn open(left: Source, right: Source) -> Result<Self> {
        let common = Range::to(left.image().size().min(right.image().size()));
        let origins = (LayoutOrigin::of(left.image())?, LayoutOrigin::of(right.image())?);
        Ok(Self { left, right, common, origins })
    }

    /// The larger of the two blocks: a smaller one has no kind of its own there.
    fn unit(&self) -> u64 {
        self.left.image().allocation_unit().max(self.right.image().allocation_unit())
    }

    /// Both layouts where both reach, in whole units.
    fn pairs(&self) -> Result<impl Iterator<Item = Result<Pair>>> {
        // The kind of the last unit is that of all of it, also in the image that goes on.
        let whole = Some(self.common.round_out(self.unit()));
        let options = LayoutOptions { range: whole, flush: true };
        let left = rounded(Layout::new(self.left.image(), &options)?, self.unit());
        let right = rounded(Layout::new(self.right.image(), &options)?, self.unit());
        let common = self.common;
        let within = move |pair: Pair| Pair { range: common.intersect(pair.range), ..pair };
        let pairs = pairs(left, right).map(move |pair| pair.map(within));
        Ok(pairs.filter(|pair| !matches!(pair, Ok(pair) if pair.range.is_empty())))
    }

    /// The pairs cut into pieces; what is not read, or is at one place on the disk, goes in one.
    fn pieces(&self) -> Result<impl Iterator<Item = Result<Piece>>> {
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
        match both && self.origins == (LayoutOrigin::Fiemap, LayoutOrigin::Fiemap) {
            true => sharing::unshared(self.left.image(), self.right.image(), pair.range),
            false => Ok(vec![pair.range]),
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

    fn compare(
        &self,
        piece: &Piece,
        bufs: &mut (AlignedBuf, AlignedBuf),
        cancel: &Cancel,
    ) -> Result<Compared> {
        let pair = piece.pair;
        let mut compared = Compared { differences: vec![], read: 0, shared: 0 };
        if !piece.shared && pair.has_data() {
            for range in pair.range.pieces(PART) {
                cancel.check()?;
                self.compare_part(Pair { range, ..pair }, bufs, &mut compared)?;
            }
            return Ok(compared);
        }
        if self.kinds_differ(pair.left, pair.right) {
            compared.add(&pair, pair.range, false);
        }
        compared.shared = if piece.shared { pair.range.len() } else { 0 };
        Ok(compared)
    }

    fn compare_part(
        &self,
        pair: Pair,
        (a, b): &mut (AlignedBuf, AlignedBuf),
        compared: &mut Compared,
    ) -> Result<()> {
        let (range, length) = (pair.range, pair.range.len() as usize);
        let sides = [(&self.left, pair.left, &mut *a), (&self.right, pair.right, &mut *b)];
        for (source, kind, buf) in sides {
            match kind {
                Kind::Data => {
                    source.image().read_at(&mut buf[..length], range.start())?;
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
}

impl Compared {
    fn add(&mut self, pair: &Pair, range: Range, content: bool) {
        let (left, right) = (Some(pair.left), Some(pair.right));
        self.differences.push(Difference { range, left, right, content });
    }
}

impl Pair {
    fn has_data(&self) -> bool {
        self.left == Kind::Data || self.right == Kind::Data
    }
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

/// Joins neighbouring differences of one sort, and counts.
struct Report<'a, F> {
    sides: &'a Sides,
    stats: DiffStats,
    open: Option<Difference>,
    found: F,
}

impl<'a, F: FnMut(&Difference) -> Result<()>> Report<'a, F> {
    fn new(sides: &'a Sides, found: F) -> Self {
        let stats = DiffStats {
            left_size_bytes: sides.left.image().size(),
            right_size_bytes: sides.right.image().size(),
            kinds_compared: sides.origins == (LayoutOrigin::Fiemap, LayoutOrigin::Fiemap),
            ..DiffStats::default()
        };
        Self { sides, stats, open: None, found }
    }

    fn take(&mut self, compared: Compared) -> Result<()> {
        self.stats.read_bytes += compared.read;
        self.stats.shared_bytes += compared.shared;
        compared.differences.into_iter().try_for_each(|difference| self.add(difference))
    }

    fn add(&mut self, next: Difference) -> Result<()> {
        if let Some(open) = &mut self.open
            && (open.left, open.right, open.content) == (next.left, next.right, next.content)
            && open.range.end() == next.range.start()
        {
            open.range = open.range.through(next.range);
            return Ok(());
        }
        let Some(done) = self.open.replace(next) else { return Ok(()) };
        self.count(&done)
    }

    fn count(&mut self, difference: &Difference) -> Result<()> {
        self.stats.ranges += 1;
        *match difference {
            Difference { left: None, .. } | Difference { right: None, .. } => {
                &mut self.stats.past_end_bytes
            }
            Difference { content: true, .. } => &mut self.stats.content_bytes,
            Difference { content: false, .. } => &mut self.stats.kind_bytes,
        } += difference.range.len();
        (self.found)(difference)
    }

    /// What only one of them has, too.
    fn end(mut self, cancel: &Cancel) -> Result<DiffStats> {
        let (left, right) = (self.sides.left.image(), self.sides.right.image());
        let (longer, left_is_longer) = match left.size() > right.size() {
            true => (left, true),
            false => (right, false),
        };
        let (end, unit) = (self.sides.common.end(), self.sides.unit());
        let rest = Range::to(longer.size()).split_at(end & !(unit - 1)).1;
        let options = LayoutOptions { range: Some(rest), flush: true };
        for extent in rounded(Layout::new(longer, &options)?, unit) {
            cancel.check()?;
            let extent = extent?;
            let (range, kind) = (extent.range.split_at(end).1, Some(extent.kind));
            let (left, right) = if left_is_longer { (kind, None) } else { (None, kind) };
            if !range.is_empty() {
                self.add(Difference { range, left, right, content: false })?;
            }
        }
        if let Some(last) = self.open.take() {
            self.count(&last)?;
        }
        Ok(self.stats)
    }
}
