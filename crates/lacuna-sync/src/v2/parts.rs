//! Cutting an image into the parts that go into one message each.

use lacuna::receipt::CHUNK;
use lacuna::{Extent, Kind, Range};

use super::chunks::CHUNKS_MAX;
use super::frames::BODY;

/// Ranges with no more between them than this are read at once.
pub(super) const GAP: u64 = 32 << 10;

/// Extents of a part, about.
const EXTENTS: usize = 2048;

/// Neighbouring extents that begin and end at chunks, or at the end of the image.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) extents: Vec<Extent>,
    /// Whether the target may have content there.
    pub(super) has_content: bool,
}

/// How to cut.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    /// A multiple of the chunk.
    pub(super) content_end: u64,
    /// Holes are as much work as what is allocated.
    pub(super) count_holes: bool,
    /// Of a part behind `content_end`.
    pub(super) most: Most,
}

/// What a part may have, at most.
#[derive(Clone, Copy)]
pub(super) struct Most {
    /// Bytes of data.
    data: u64,
    /// Chunks that are allocated.
    chunks: u64,
    /// Chunks that have data.
    data_chunks: u64,
}

impl Most {
    /// Of a part whose data is read, of so many bytes.
    pub(super) fn read(data: usize) -> Self {
        Self { data: data as u64, ..Self::READ }
    }

    /// Of a part that is compared: large, so that little is said.
    const COMPARED: Self = Self { data: 4 * BODY as u64, ..Self::READ };

    /// Of a part whose data is read.
    pub(super) const READ: Self = Self { data: BODY as u64, chunks: 1024, data_chunks: 256 };

    /// Of a part of which only the kinds matter: as many chunks as a message may be of.
    pub(super) const KINDS: Self =
        Self { data: u64::MAX, chunks: CHUNKS_MAX, data_chunks: CHUNKS_MAX };
}

/// The parts of `extents`, a gap-free layout of whole blocks.
pub(super) fn parts<E>(
    extents: impl Iterator<Item = Result<Extent, E>>,
    cut: Cut,
) -> impl Iterator<Item = Result<Part, E>> {
    let mut pieces = extents.flat_map(move |extent| {
        let (extent, error) =
            extent.map_or_else(|e| (None, Some(e)), |extent| (Some(extent), None));
        let pieces = extent.into_iter().flat_map(move |extent| chunked(extent, cut));
        pieces.map(Ok).chain(error.map(Err))
    });
    let mut building = Building::default();
    let mut is_over = false;
    std::iter::from_fn(move || {
        while !is_over {
            let piece = match pieces.next() {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    is_over = true;
                    break;
                }
            };
            let done = building.ends_before(piece, cut).then(|| building.take(cut));
            building.push(piece, cut);
            if done.is_some() {
                return done.map(Ok);
            }
        }
        (!building.extents.is_empty()).then(|| Ok(building.take(cut)))
    })
}

/// `extent` cut at chunks: what is to be counted one by one, holes as long as they are.
fn chunked(extent: Extent, cut: Cut) -> impl Iterator<Item = Extent> {
    let is_counted = cut.counts(extent.kind);
    let mut rest = extent.range;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let start = rest.start();
        let next = (start / CHUNK + 1) * CHUNK;
        let last = rest.end() / CHUNK * CHUNK;
        let end = match is_counted || !start.is_multiple_of(CHUNK) || last <= start {
            true => next,
            false if start < cut.content_end => last.min(cut.content_end),
            false => last,
        };
        let (range, after) = rest.split_at(end);
        rest = after;
        Some(Extent { range, ..extent })
    })
}

impl Cut {
    fn limit(self, start: u64) -> Most {
        if start < self.content_end { Most::COMPARED } else { self.most }
    }

    fn counts(self, kind: Kind) -> bool {
        kind.is_allocated() || self.count_holes
    }
}

/// A part that is being put together.
#[derive(Default)]
struct Building {
    extents: Vec<Extent>,
    data: u64,
    /// The chunks that were counted, and the last of them.
    chunks: u64,
    data_chunks: u64,
    last: Option<u64>,
    last_data: Option<u64>,
}

impl Building {
    fn ends_before(&self, piece: Extent, cut: Cut) -> bool {
        let start = piece.range.start();
        let most = cut.limit(start);
        let is_full = self.data + CHUNK > most.data
            || self.chunks >= most.chunks
            || self.data_chunks >= most.data_chunks
            || self.extents.len() >= EXTENTS;
        start.is_multiple_of(CHUNK)
            && !self.extents.is_empty()
            && (is_full || start == cut.content_end)
    }

    fn push(&mut self, piece: Extent, cut: Cut) {
        let chunk = Some(piece.range.start() / CHUNK);
        if cut.counts(piece.kind) && self.last != chunk {
            self.chunks += 1;
            self.last = chunk;
        }
        if piece.kind == Kind::Data {
            self.data += piece.range.len();
            self.data_chunks += u64::from(self.last_data != chunk);
            self.last_data = chunk;
        }
        match self.extents.last_mut() {
            Some(last) if last.kind == piece.kind => last.range = last.range.through(piece.range),
            _ => self.extents.push(piece),
        }
    }

    fn take(&mut self, cut: Cut) -> Part {
        let extents = std::mem::take(self).extents;
        let start = extents.first().map_or(0, |first| first.range.start());
        Part { extents, has_content: start < cut.content_end }
    }
}

/// Where `extents` begin and end.
pub(super) fn span(extents: &[Extent]) -> Range {
    match (extents.first(), extents.last()) {
        (Some(first), Some(last)) => first.range.through(last.range),
        _ => Range::to(0),
    }
}
