//! The walk over the source's layout that finds the work to do.

use lacuna::batch::{BATCH_BYTES, Batch};
use lacuna::{Cancel, Extent, Kind, LayoutOptions, Source};
use tokio::sync::mpsc;

use super::{Session, SyncStats};
use crate::error::Result;
use crate::runtime;
use crate::v1::sender::Work;

impl Session {
    /// The kinds of the source, without sending anything.
    pub(super) async fn count_kinds(&self) -> Result<SyncStats> {
        let source = self.source.clone();
        runtime::blocking(move || {
            let mut stats = SyncStats { size_bytes: source.size(), ..Default::default() };
            for extent in source.layout(&LayoutOptions::default())? {
                stats.count(&extent?);
            }
            Ok(stats)
        })
        .await
    }
}

impl SyncStats {
    fn count(&mut self, extent: &Extent) {
        self.extents += u64::from(extent.kind.is_allocated());
        self.kinds.add(extent.kind, extent.range.len());
    }
}

/// Cuts the source's layout into work. Ends early, and well, when nobody takes work any more: who
/// stopped has the error.
pub(super) fn walk(
    source: &Source,
    holes: bool,
    work: &mpsc::Sender<Work>,
    cancel: &Cancel,
) -> Result<SyncStats> {
    let mut stats = SyncStats { size_bytes: source.size(), ..SyncStats::default() };
    let mut batch = Batch::new();
    for extent in source.layout(&LayoutOptions::default())? {
        let extent = extent?;
        cancel.check()?;
        stats.count(&extent);
        if extent.kind == Kind::Hole {
            if holes && work.blocking_send(Work::Hole(extent.range)).is_err() {
                return Ok(stats);
            }
            continue;
        }
        for range in extent.range.pieces(BATCH_BYTES) {
            if let Some(full) = batch.push(Extent { range, ..extent })
                && work.blocking_send(Work::Batch(full)).is_err()
            {
                return Ok(stats);
            }
        }
    }
    if !batch.ranges().is_empty() {
        // Nobody there to take it: see above.
        let _ = work.blocking_send(Work::Batch(batch));
    }
    Ok(stats)
}
