//! What a copy would do, found out by comparing what both images have.

use std::path::Path;

use super::CopyOptions;
use super::plan::{CopyPlan, Ends};
use crate::aligned_buf::AlignedBuf;
use crate::batch::{BATCH_BYTES, Batch};
use crate::error::Result;
use crate::extent::{BLOCK, Kind, Range};
use crate::layout::{LayoutOrigin, Pair};
use crate::ordered::in_order;
use crate::progress::{Cancel, Progress};
use crate::settle::held_as;
use crate::source::Source;

/// As [`plan`](super::plan), but exact: what both have is read and compared. Locks both, shared.
///
/// # Errors
///
/// Whatever can be wrong with either image, [`Error::Cancelled`](crate::Error::Cancelled), and
/// [`Error::Changed`](crate::Error::Changed) when one does not stay as it is.
pub fn compare(
    source: &Source,
    target: &Path,
    options: &CopyOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<CopyPlan> {
    let mut ends = Ends::open(source, target, options)?;
    ends.target.lock()?;
    ends.target.watch()?;
    let mut plan = ends.begin()?;
    progress.total_bytes.set(ends.source.allocated_bytes()?);
    let (resumed_bytes, mut spared) = (plan.resumed_bytes, Spared::default());
    let counted = ends.pairs()?.map(|pair| {
        let pair = pair?;
        ends.count(&mut plan, &pair)?;
        Ok(pair)
    });
    in_order(
        options.threads,
        batches(counted, ends.target.origin(), resumed_bytes),
        || [(); 2].map(|()| AlignedBuf::new(BATCH_BYTES as usize)),
        |buffers, batch| {
            cancel.check()?;
            ends.compare(&batch, buffers, progress)
        },
        |found| {
            spared.written += found.written;
            spared.cleared += found.cleared;
            Ok(())
        },
    )?;
    ends.finish()?;
    plan.written_bytes_max -= spared.written;
    plan.cleared_bytes -= spared.cleared;
    plan.written_bytes = Some(plan.written_bytes_max);
    progress.finish();
    Ok(plan)
}

/// What was counted, and need not be done.
#[derive(Default)]
struct Spared {
    written: u64,
    cleared: u64,
}

/// What is to be read of `pairs`, packed: both images where both have data, and a device where the
/// source has none.
fn batches(
    pairs: impl Iterator<Item = Result<Pair>>,
    origin: LayoutOrigin,
    resumed_bytes: u64,
) -> impl Iterator<Item = Result<Batch<Pair>>> {
    let is_read = move |pair: &Pair| match (pair.left, pair.right) {
        (Kind::Data, right) => right == Kind::Data,
        _ => origin == LayoutOrigin::Device,
    };
    let mut pieces = pairs.flat_map(move |pair| {
        let (pair, error) = pair.map_or_else(|e| (None, Some(e)), |pair| (Some(pair), None));
        let held = pair.map(|pair| Pair { left: held_as(pair.left, origin), ..pair });
        let pieces = held.filter(is_read).into_iter().flat_map(move |pair| {
            let rest = pair.range.split_at(resumed_bytes).1;
            rest.pieces(BATCH_BYTES).map(move |range| Pair { range, ..pair })
        });
        pieces.map(Ok).chain(error.map(Err))
    });
    let mut batch = Batch::new();
    std::iter::from_fn(move || {
        for piece in pieces.by_ref() {
            match piece.map(|piece| batch.push(piece)) {
                Ok(None) => {}
                Ok(Some(full)) => return Some(Ok(full)),
                Err(error) => return Some(Err(error)),
            }
        }
        let last = batch.take();
        (!last.ranges().is_empty()).then_some(Ok(last))
    })
}

impl Ends<'_> {
    fn compare(
        &self,
        batch: &Batch<Pair>,
        [wanted, found]: &mut [AlignedBuf; 2],
        progress: &Progress,
    ) -> Result<Spared> {
        let (read, whole) = (batch.span(|pair| pair.left == Kind::Data), batch.span(|_| true));
        let wanted = &mut wanted[..read.len() as usize];
        self.source.read_at(wanted, read.start())?;
        let found = &mut found[..whole.len() as usize];
        self.target.read_at(found, whole.start())?;
        let is_equal = |block: Range| found[block.within(whole)] == wanted[block.within(read)];
        let is_zero = |block: Range| found[block.within(whole)].iter().all(|byte| *byte == 0);
        let mut spared = Spared::default();
        for Pair { range, left, .. } in batch.ranges() {
            progress.compared_bytes.add(range.len());
            if *left == Kind::Data {
                progress.read_bytes.add(range.len());
                progress.done_bytes.add(range.len());
                spared.written += sum(*range, is_equal);
            } else {
                spared.cleared += sum(*range, is_zero);
            }
        }
        self.source.watch()?;
        Ok(spared)
    }

    /// Fails when one of the two did not stay as it was; leaves the page cache.
    fn finish(&self) -> Result<()> {
        self.source.check()?;
        self.target.check()?;
        self.source.drop_cache();
        if let Some(image) = self.target.image() {
            image.drop_cache();
        }
        Ok(())
    }
}

/// Bytes of the blocks in `range` of which something `is`.
fn sum(range: Range, is: impl Fn(Range) -> bool) -> u64 {
    range.pieces(BLOCK).filter(|block| is(*block)).map(Range::len).sum()
}
