//! The receipt: one digest over size, kinds and content of an image, the same however it is split and
//! in whatever order it is seen.
//!
//! Each [`CHUNK`] of address space that is not one hole has a digest of its own: BLAKE3 over its index
//! (`u64`, little-endian), the kinds of its blocks (`u32`, two bits a block, the first block lowest:
//! 0 hole, 1 zero, 2 data) and the BLAKE3 of its bytes, which end where the image does. These are
//! added up as four `u64` lanes; the receipt is BLAKE3 over `lacuna receipt 1`, the size and the sum.

use std::path::Path;

use crate::aligned_buf::AlignedBuf;
use crate::digest::hex;
use crate::error::Result;
use crate::extent::{BLOCK, Extent, Kind, KindBytes, Range};
use crate::layout::{LayoutOptions, LayoutOrigin, rounded};
use crate::open::{ImageOptions, IoMode};
use crate::ordered::in_order;
use crate::progress::{Cancel, Progress};
use crate::source::Source;

/// The bytes of address space that have a digest of their own.
pub const CHUNK: u64 = 64 << 10;

/// Bytes read at a time, whole chunks.
const WINDOW: u64 = 1 << 20;

const WORDS: &[u8] = b"lacuna receipt 1";

/// The digests of some chunks, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    lanes: [u64; 4],
}

impl Receipt {
    /// Adds the chunk at `index`, once, given the kinds of its blocks and the BLAKE3 of its bytes. One
    /// that is all hole changes nothing.
    pub fn add(&mut self, index: u64, kinds: ChunkKinds, content: &[u8; 32]) {
        if kinds == ChunkKinds::default() {
            return;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&index.to_le_bytes()).update(&kinds.0.to_le_bytes()).update(content);
        let digest = hasher.finalize();
        let (words, _) = digest.as_bytes().as_chunks::<8>();
        let lanes = [0, 1, 2, 3].map(|lane: usize| u64::from_le_bytes(words[lane]));
        self.merge(Self { lanes });
    }

    /// Adds what another has seen, of other chunks.
    pub fn merge(&mut self, other: Self) {
        for (lane, other) in self.lanes.iter_mut().zip(other.lanes) {
            *lane = lane.wrapping_add(other);
        }
    }

    /// The receipt of an image of `size` bytes of which all chunks were added.
    pub fn finish(&self, size: u64) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(WORDS).update(&size.to_le_bytes());
        for lane in self.lanes {
            hasher.update(&lane.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// The kinds of the blocks of a chunk; at first all holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkKinds(u32);

impl ChunkKinds {
    /// The block at `index` within the chunk has `kind`.
    pub fn set(&mut self, index: u32, kind: Kind) {
        let bits = match kind {
            Kind::Hole => 0,
            Kind::Zero => 1,
            Kind::Data => 2,
        };
        let shift = 2 * (index % 16);
        self.0 = self.0 & !(3 << shift) | bits << shift;
    }

    fn has_data(self) -> bool {
        self.0 & 0xaaaa_aaaa != 0
    }
}

/// How to compute a receipt.
#[derive(Clone, Copy, Debug)]
pub struct ReceiptOptions {
    /// Direct or buffered.
    pub io: IoMode,
    /// Ranges that are hashed at the same time.
    pub threads: usize,
}

impl Default for ReceiptOptions {
    fn default() -> Self {
        Self { io: IoMode::default(), threads: 2 }
    }
}

/// A receipt, and what it is of.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Receipted {
    /// In lowercase hexadecimal digits.
    pub digest: String,
    /// Where the kinds come from: only receipts with the same origin can be compared.
    pub layout_from: LayoutOrigin,
    /// Size of the image.
    pub size_bytes: u64,
    /// Its kinds.
    #[serde(flatten)]
    pub kinds: KindBytes,
    /// Read: its data.
    pub read_bytes: u64,
}

/// The receipt of the image at `path`, with the kinds that its filesystem shows.
///
/// # Errors
///
/// What is wrong with the image, and [`Error::Changed`](crate::Error::Changed) when it does not stay as
/// it is.
pub fn receipt(
    path: &Path,
    options: &ReceiptOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Receipted> {
    let source = Source::open(path, &ImageOptions { io: options.io, ..ImageOptions::default() })?;
    progress.total_bytes.set(source.allocated_bytes()?);
    let layout = source.layout(&LayoutOptions::default())?;
    let layout_from = layout.origin();
    let mut kinds = KindBytes::default();
    let counted = rounded(layout, BLOCK).inspect(|extent| {
        if let Ok(extent) = extent {
            kinds.add(extent.kind, extent.range.len());
        }
    });
    let mut receipt = Receipt::default();
    in_order(
        options.threads,
        windows(counted),
        || AlignedBuf::new(WINDOW as usize),
        |buf, window| {
            cancel.check()?;
            hash_window(&source, &window, buf, progress)
        },
        |part| {
            receipt.merge(part);
            Ok(())
        },
    )?;
    source.check()?;
    source.drop_cache();
    progress.finish();
    let size_bytes = source.size();
    let digest = hex(&receipt.finish(size_bytes));
    let read_bytes = progress.read_bytes.get();
    Ok(Receipted { digest, layout_from, size_bytes, kinds, read_bytes })
}

/// The allocated extents of each window, cut at its ends. Windows that have none are left out.
fn windows(
    mut extents: impl Iterator<Item = Result<Extent>>,
) -> impl Iterator<Item = Result<Vec<Extent>>> {
    let mut rest: Option<Extent> = None;
    std::iter::from_fn(move || {
        let mut window: Vec<Extent> = vec![];
        loop {
            let extent = match rest.take().map(Ok).or_else(|| extents.next()) {
                Some(Ok(extent)) if extent.kind == Kind::Hole => continue,
                Some(Ok(extent)) => extent,
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    return Some(Ok(window)).filter(|last| !matches!(last, Ok(w) if w.is_empty()));
                }
            };
            let first = window.first().map_or(extent.range.start(), |first| first.range.start());
            let end = (first & !(WINDOW - 1)) + WINDOW;
            let (range, after) = extent.range.split_at(end);
            if !range.is_empty() {
                window.push(Extent { range, ..extent });
            }
            if !after.is_empty() {
                rest = Some(Extent { range: after, ..extent });
                return Some(Ok(window));
            }
        }
    })
}

/// The chunks of one window.
fn hash_window(
    source: &Source,
    window: &[Extent],
    buf: &mut AlignedBuf,
    progress: &Progress,
) -> Result<Receipt> {
    let start = window.first().map_or(0, |first| first.range.start()) & !(WINDOW - 1);
    let size = source.size();
    let whole = Range::to(size).split_at(start).1.split_at(start + WINDOW).0;
    let mut chunks = [ChunkKinds::default(); (WINDOW / CHUNK) as usize];
    let bytes = &mut buf[..whole.len() as usize];
    bytes.fill(0);
    for extent in window {
        let range = extent.range;
        if extent.kind == Kind::Data {
            source.read_at(&mut bytes[range.within(whole)], range.start())?;
            progress.read_bytes.add(range.len());
        }
        progress.done_bytes.add(range.len());
        for block in range.pieces(BLOCK) {
            let index = (block.start() - start) / BLOCK;
            chunks[(index / 16) as usize].set((index % 16) as u32, extent.kind);
        }
    }
    source.watch()?;
    let (mut receipt, zeros) = (Receipt::default(), blake3::hash(&[0; CHUNK as usize]));
    for (index, kinds) in
        chunks.iter().enumerate().filter(|(_, kinds)| **kinds != ChunkKinds::default())
    {
        let from = index * CHUNK as usize;
        let content = &bytes[from..(from + CHUNK as usize).min(bytes.len())];
        let content = match kinds.has_data() || content.len() < CHUNK as usize {
            true => blake3::hash(content),
            false => zeros,
        };
        receipt.add(start / CHUNK + index as u64, *kinds, content.as_bytes());
    }
    Ok(receipt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(start: u64, end: u64, kind: Kind) -> Extent {
        Extent { range: Range::new(start, end).unwrap(), kind }
    }

    fn chunk(index: u64, kind: Kind, byte: u8) -> Receipt {
        let mut kinds = ChunkKinds::default();
        kinds.set(3, kind);
        let mut receipt = Receipt::default();
        receipt.add(index, kinds, blake3::hash(&[byte]).as_bytes());
        receipt
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        let (a, b) = (chunk(0, Kind::Data, 1), chunk(1, Kind::Data, 2));
        let sum = |parts: [Receipt; 2]| {
            let mut sum = parts[0];
            sum.merge(parts[1]);
            sum.finish(1 << 20)
        };
        assert_eq!(sum([a, b]), sum([b, a]));
        let swapped = [chunk(1, Kind::Data, 1), chunk(0, Kind::Data, 2)];
        let kind = [chunk(0, Kind::Zero, 1), b];
        let content = [chunk(0, Kind::Data, 3), b];
        let missing = [Receipt::default(), b];
        for other in [swapped, kind, content, missing] {
            assert_ne!(sum([a, b]), sum(other));
        }
        assert_ne!(a.finish(1), a.finish(2));
        assert_eq!(chunk(0, Kind::Hole, 1), Receipt::default());
    }

    #[test]
    fn windows_are_cut_at_their_ends_and_holes_left_out() {
        let layout = [
            extent(0, 4096, Kind::Data),
            extent(4096, 10 * WINDOW, Kind::Hole),
            extent(10 * WINDOW, 12 * WINDOW + 4096, Kind::Zero),
            extent(12 * WINDOW + 4096, 12 * WINDOW + 8192, Kind::Data),
            extent(12 * WINDOW + 8192, 100 * WINDOW, Kind::Hole),
        ];
        let found: Vec<_> = windows(layout.into_iter().map(Ok)).map(Result::unwrap).collect();
        let expected = vec![
            vec![extent(0, 4096, Kind::Data)],
            vec![extent(10 * WINDOW, 11 * WINDOW, Kind::Zero)],
            vec![extent(11 * WINDOW, 12 * WINDOW, Kind::Zero)],
            vec![
                extent(12 * WINDOW, 12 * WINDOW + 4096, Kind::Zero),
                extent(12 * WINDOW + 4096, 12 * WINDOW + 8192, Kind::Data),
            ],
        ];
        assert_eq!(found, expected);
    }
}
