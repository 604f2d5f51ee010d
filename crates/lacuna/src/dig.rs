//! Dig: blocks of zeros become holes. Not for a layer of a chain, where zeros hide the parent.
//!
//! What is read stays the same at every instant, so an image is never unfinished here.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::aligned_buf::AlignedBuf;
use crate::beside;
use crate::checksum_file::ChecksumFile;
use crate::error::Result;
use crate::extent::{Extent, Kind, Range};
use crate::image::{Image, LONGEST_CLEAR};
use crate::layer;
use crate::layout::{Layout, LayoutOptions, pieces, rounded};
use crate::locked::{Held, LockedImage};
use crate::open::{Access, ImageOptions, IoMode};
use crate::ordered::in_order;
use crate::progress::{Cancel, Progress};

/// Bytes read at a time, a multiple of every unit of allocation.
const PIECE: u64 = 1 << 20;

/// How to dig.
#[derive(Clone, Copy, Debug)]
pub struct DigOptions {
    /// Direct or buffered.
    pub io: IoMode,
    /// Ranges that are read at the same time.
    pub threads: usize,
    /// Dig although the image is a layer of a chain.
    pub force_layer: bool,
}

impl Default for DigOptions {
    fn default() -> Self {
        Self { io: IoMode::default(), threads: 2, force_layer: false }
    }
}

/// What digging would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DigPlan {
    /// Size of the image.
    pub size_bytes: u64,
    /// Read to find zeros.
    pub read_bytes: u64,
    /// In blocks of zeros, and in unwritten ranges: to be made holes.
    pub dug_bytes: u64,
}

/// What digging did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DigStats {
    /// Size of the image.
    pub size_bytes: u64,
    /// Read to find zeros.
    pub read_bytes: u64,
    /// In blocks of zeros, and in unwritten ranges: made holes.
    pub dug_bytes: u64,
    /// By which the image takes less space; what another file shares of it is not free.
    pub reclaimed_bytes: u64,
}

/// Finds what digging would make a hole. Reads all data, writes nothing.
///
/// # Errors
///
/// What is wrong with the image.
pub fn plan(
    path: &Path,
    options: &DigOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<DigPlan> {
    let locked = open(path, options, Access::Read, cancel)?;
    let mut plan = DigPlan { size_bytes: locked.image().size(), ..DigPlan::default() };
    plan.dug_bytes = walk(&locked, options, progress, cancel, |_, _| Ok(()))?;
    plan.read_bytes = progress.read_bytes.get();
    locked.image().drop_cache();
    progress.finish();
    Ok(plan)
}

/// Makes blocks of zeros holes: durable when this returns. Where there are none, nothing is touched,
/// nor is the `.checksum` removed.
///
/// # Errors
///
/// What is wrong with the image. What was dug by then stays.
pub fn apply(
    path: &Path,
    options: &DigOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<DigStats> {
    let locked = open(path, options, Access::Alone, cancel)?;
    let image = locked.image();
    let before = image.allocated_bytes()?;
    let real = beside::resolve(path)?;
    let begun = Mutex::new(false);
    let dug_bytes = walk(&locked, options, progress, cancel, |held, range| {
        let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
        if !*begun {
            ChecksumFile::remove(&real)?;
            *begun = true;
        }
        drop(begun);
        held.punch(range)
    })?;
    image.sync()?;
    image.drop_cache();
    progress.finish();
    Ok(DigStats {
        size_bytes: image.size(),
        read_bytes: progress.read_bytes.get(),
        dug_bytes,
        reclaimed_bytes: before.saturating_sub(image.allocated_bytes()?),
    })
}

fn open(path: &Path, options: &DigOptions, access: Access, cancel: &Cancel) -> Result<LockedImage> {
    if !options.force_layer {
        layer::refuse_layer(path)?;
    }
    let image = ImageOptions { io: options.io, access, ..ImageOptions::default() };
    LockedImage::open_leased(path, &image, cancel)
}

/// Hands every run of blocks of zeros to `dig`, and returns how much that was.
fn walk(
    locked: &LockedImage,
    options: &DigOptions,
    progress: &Progress,
    cancel: &Cancel,
    dig: impl Fn(&Held<'_>, Range) -> Result<()> + Sync,
) -> Result<u64> {
    let image = locked.image();
    progress.total_bytes.set(image.allocated_bytes()?);
    let layout = rounded(Layout::new(image, &LayoutOptions::default())?, image.allocation_unit());
    let allocated = layout.filter(|extent| !matches!(extent, Ok(Extent { kind: Kind::Hole, .. })));
    let mut dug = 0;
    in_order(
        options.threads,
        pieces(allocated, |kind| if kind == Kind::Data { PIECE } else { LONGEST_CLEAR }),
        || AlignedBuf::new(PIECE as usize),
        |buf, piece| {
            cancel.check()?;
            let held = locked.hold()?;
            let zeros = zeros(image, &piece, buf, progress)?;
            zeros.iter().try_for_each(|zeros| dig(&held, *zeros))?;
            drop(held);
            image.forget(piece.range);
            progress.done_bytes.add(piece.range.len());
            Ok(zeros.iter().map(|zeros| zeros.len()).sum::<u64>())
        },
        |bytes| {
            dug += bytes;
            Ok(())
        },
    )?;
    Ok(dug)
}

/// The runs of blocks of zeros in `piece`, where a block is what the filesystem allocates at least.
fn zeros(
    image: &Image,
    piece: &Extent,
    buf: &mut AlignedBuf,
    progress: &Progress,
) -> Result<Vec<Range>> {
    let range = piece.range;
    if piece.kind == Kind::Zero {
        return unwritten(image, range);
    }
    let bytes = &mut buf[..range.len() as usize];
    image.read_at(bytes, range.start())?;
    progress.read_bytes.add(range.len());
    let runs = range.runs(image.allocation_unit(), |block| {
        bytes[block.within(range)].iter().all(|byte| *byte == 0)
    });
    Ok(runs.into_iter().filter(|(_, zeros)| *zeros).map(|(run, _)| run).collect())
}

/// What of `range` is unwritten now: somebody may have been let in since the walk came by.
fn unwritten(image: &Image, range: Range) -> Result<Vec<Range>> {
    let options = LayoutOptions { range: Some(range), flush: true };
    let layout = rounded(Layout::new(image, &options)?, image.allocation_unit());
    let zero =
        layout.filter(|extent| !extent.as_ref().is_ok_and(|extent| extent.kind != Kind::Zero));
    zero.map(|extent| extent.map(|extent| extent.range)).collect()
}
