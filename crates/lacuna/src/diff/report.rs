//! What a diff says: neighbouring differences as one, and counted.

use super::sides::Compared;
use super::{DiffStats, Difference};
use crate::error::Result;

/// Joins neighbouring differences of one sort, and counts.
pub(super) struct Report<F> {
    stats: DiffStats,
    open: Option<Difference>,
    found: F,
}

impl<F: FnMut(&Difference) -> Result<()>> Report<F> {
    /// `stats` of nothing compared yet.
    pub(super) fn new(stats: DiffStats, found: F) -> Self {
        Self { stats, open: None, found }
    }

    pub(super) fn take(&mut self, compared: Compared) -> Result<()> {
        self.stats.read_bytes += compared.read;
        self.stats.shared_bytes += compared.shared;
        compared.differences.into_iter().try_for_each(|difference| self.add(difference))
    }

    pub(super) fn add(&mut self, next: Difference) -> Result<()> {
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

    pub(super) fn finish(mut self) -> Result<DiffStats> {
        if let Some(last) = self.open.take() {
            self.count(&last)?;
        }
        Ok(self.stats)
    }
}
