//! What a diff must find, block by block, from what plain means see of both images.

use std::path::Path;

use lacuna::diff::{DiffStats, Difference};
use lacuna::{BLOCK, Kind, Range};
use lacuna_testing::mount::Fs;
use lacuna_testing::pattern;

use crate::content::Content;

/// Which kinds an image can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    All,
    /// What is unwritten shows as a hole, or is written zeros.
    Two,
    /// A device.
    Nothing,
}

impl Shows {
    pub(super) fn of(fs: Fs) -> Self {
        if fs.has_zero() { Self::All } else { Self::Two }
    }
}

pub(super) struct Expected {
    pub(super) differences: Vec<Difference>,
    /// All that is data in what both have is read.
    pub(super) stats: DiffStats,
}

/// Everything in which two images differ.
pub(super) fn expect(left: &Path, right: &Path, shows: (Shows, Shows)) -> Expected {
    let (a, b) = (Content::of(left), Content::of(right));
    let sizes = (a.bytes.len() as u64, b.bytes.len() as u64);
    let mut stats = DiffStats {
        left_size_bytes: sizes.0,
        right_size_bytes: sizes.1,
        kinds_compared: shows == (Shows::All, Shows::All),
        ..DiffStats::default()
    };
    let mut differences: Vec<Difference> = vec![];
    for range in cuts(sizes) {
        let (left, right) = (kind_at(&a, range), kind_at(&b, range));
        let bytes = |content: &Content| {
            let end = content.bytes.len().min(range.end() as usize);
            content.bytes[end.min(range.start() as usize)..end].to_vec()
        };
        let both = left.is_some() && right.is_some();
        if both {
            let data = [left, right].iter().filter(|kind| **kind == Some(Kind::Data)).count();
            stats.read_bytes += data as u64 * range.len();
        }
        let content = both && bytes(&a) != bytes(&b);
        let kinds = both && kinds_differ(left, right, shows);
        *match (both, content, kinds) {
            (false, ..) => &mut stats.past_end_bytes,
            (true, true, _) => &mut stats.content_bytes,
            (true, false, true) => &mut stats.kind_bytes,
            (true, false, false) => continue,
        } += range.len();
        match differences.last_mut() {
            Some(last)
                if last.range.end() == range.start()
                    && (last.left, last.right, last.content) == (left, right, content) =>
            {
                last.range = Range::new(last.range.start(), range.end()).unwrap();
            }
            _ => differences.push(Difference { range, left, right, content }),
        }
    }
    stats.ranges = differences.len() as u64;
    Expected { differences, stats }
}

/// Blocks, cut once more where the shorter image ends.
fn cuts((left, right): (u64, u64)) -> Vec<Range> {
    let mut ends: Vec<u64> = (1..=left.max(right) / BLOCK).map(|block| block * BLOCK).collect();
    ends.extend([left, right]);
    ends.sort_unstable();
    let starts = std::iter::once(0).chain(ends.clone());
    let ranges = starts.zip(ends).map(|(start, end)| Range::new(start, end).unwrap());
    ranges.filter(|range| !range.is_empty()).collect()
}

fn kind_at(content: &Content, range: Range) -> Option<Kind> {
    let within = range.end() <= content.bytes.len() as u64;
    within.then(|| match content.kinds[(range.start() / BLOCK) as usize] {
        pattern::Kind::Data => Kind::Data,
        pattern::Kind::Zero => Kind::Zero,
        pattern::Kind::Hole => Kind::Hole,
    })
}

fn kinds_differ(left: Option<Kind>, right: Option<Kind>, shows: (Shows, Shows)) -> bool {
    match shows {
        (Shows::Nothing, _) | (_, Shows::Nothing) => false,
        (Shows::All, Shows::All) => left != right,
        // What one shows as zeros may be either at the other.
        _ => left != right && left != Some(Kind::Zero) && right != Some(Kind::Zero),
    }
}
