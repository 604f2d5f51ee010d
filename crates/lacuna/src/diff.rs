//! Diff: where two images differ, in content or in kind.

mod report;
mod sides;

use crate::error::Result;
use crate::extent::{Kind, Range};
use crate::ordered::in_order;
use crate::progress::{Cancel, Progress};
use crate::source::Source;
use report::Report;
use sides::{Sides, buffers};

/// How to compare.
#[derive(Clone, Copy, Debug)]
pub struct DiffOptions {
    /// Ranges that are compared at the same time.
    pub threads: usize,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self { threads: 2 }
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

/// Compares two images, or what chains show, and hands every range in which they differ to `found`, in order.
///
/// # Errors
///
/// Whatever can be wrong with either, what `found` returns, and [`Error::Changed`](crate::Error::Changed)
/// when one does not stay as it is.
pub fn diff(
    left: &Source,
    right: &Source,
    options: &DiffOptions,
    progress: &Progress,
    cancel: &Cancel,
    found: impl FnMut(&Difference) -> Result<()>,
) -> Result<DiffStats> {
    progress.total_bytes.set(left.allocated_bytes()? + right.allocated_bytes()?);
    let stats = compare(left, right, options, progress, cancel, found)?;
    progress.finish();
    Ok(stats)
}

/// The same; only adds to what is done.
pub(crate) fn compare(
    left: &Source,
    right: &Source,
    options: &DiffOptions,
    progress: &Progress,
    cancel: &Cancel,
    found: impl FnMut(&Difference) -> Result<()>,
) -> Result<DiffStats> {
    let sides = Sides::of(left, right)?;
    let mut report = Report::new(sides.stats(), found);
    in_order(
        options.threads,
        sides.pieces()?,
        buffers,
        |buffers, piece| {
            cancel.check()?;
            let compared = sides.compare(&piece, buffers, cancel);
            progress.done_bytes.add(piece.allocated_bytes());
            compared
        },
        |compared| report.take(compared),
    )?;
    sides.finish()?;
    for difference in sides.past_end()? {
        cancel.check()?;
        report.add(difference?)?;
    }
    report.finish()
}
