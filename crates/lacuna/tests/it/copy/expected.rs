//! What a copy must do, block by block, from what plain means see of both images beforehand.

use lacuna::copy::CopyStats;
use lacuna::{BLOCK, KindBytes, LayoutOrigin};
use lacuna_testing::mount::Fs;
use lacuna_testing::pattern::Kind;

use crate::content::Content;

/// What must be the case afterwards.
pub(super) struct Expected {
    pub(super) content: Content,
    pub(super) stats: CopyStats,
    /// Whether an existing target is touched at all.
    pub(super) changes: bool,
}

/// The target, and what it is on.
pub(super) struct On {
    /// What stands under its name at first.
    pub(super) old: Option<Content>,
    pub(super) fs: Fs,
    /// In which it allocates.
    pub(super) unit: u64,
    /// Whether long runs of data that the target lacks are shared instead of written.
    pub(super) shares: bool,
}

/// Of a copy of `source`.
pub(super) fn expect(source: Content, on: On) -> Expected {
    let On { old, fs, unit, shares } = on;
    let source = Content { kinds: rounded(&source.kinds, unit), ..source };
    let mut stats = CopyStats {
        size_bytes: source.bytes.len() as u64,
        kinds: KindBytes::default(),
        read_bytes: 0,
        compared_bytes: 0,
        written_bytes: 0,
        reflinked_bytes: 0,
        resumed_bytes: 0,
        rest_bytes: 0,
        target_layout_from: match fs.has_zero() {
            true => LayoutOrigin::Fiemap,
            false => LayoutOrigin::SeekHole,
        },
    };
    count(&source, &mut stats);
    let content = source.held_by(fs);
    let mut changes = old.as_ref().is_none_or(|old| old.bytes.len() != content.bytes.len());
    let old = resized(old.unwrap_or(Content { bytes: vec![], kinds: vec![] }), &content);
    let old_kinds = rounded(&old.kinds, unit);
    for (index, wanted) in content.bytes.chunks(BLOCK as usize).enumerate() {
        let start = index * BLOCK as usize;
        let found = &old.bytes[start..start + wanted.len()];
        let kinds = (content.kinds[index], old_kinds[index]);
        changes |= kinds.0 != kinds.1 || wanted != found;
        let len = wanted.len() as u64;
        if kinds.0 == Kind::Data {
            stats.read_bytes += len;
            let both = kinds.1 == Kind::Data;
            stats.compared_bytes += if both { len } else { 0 };
            stats.written_bytes += if both && wanted == found { 0 } else { len };
        }
    }
    if shares {
        share(&content, &old_kinds, &mut stats);
    }
    Expected { content, stats, changes }
}

/// Shorter runs are copied, in blocks: 64 KiB.
const SHORTEST: u64 = 16;

/// Whole blocks of a run of data that the target lacks, with one kind in the target, are neither
/// read nor written if they are many enough.
fn share(content: &Content, old: &[Kind], stats: &mut CopyStats) {
    let mut start = 0;
    let pairs: Vec<_> = content.kinds.iter().zip(old).collect();
    for run in pairs.chunk_by(|a, b| a == b) {
        let end = start + run.len() as u64;
        let whole = (content.bytes.len() as u64 / BLOCK).min(end) - start;
        if *run[0].0 == Kind::Data && *run[0].1 != Kind::Data && whole >= SHORTEST {
            stats.read_bytes -= whole * BLOCK;
            stats.written_bytes -= whole * BLOCK;
            stats.reflinked_bytes += whole * BLOCK;
        }
        start = end;
    }
}

/// Every unit with the strongest kind in it.
fn rounded(kinds: &[Kind], unit: u64) -> Vec<Kind> {
    let units = kinds.chunks((unit / BLOCK) as usize);
    let strongest = |unit: &[Kind]| {
        let has = |kind| unit.contains(&kind);
        [Kind::Data, Kind::Zero].into_iter().find(|kind| has(*kind)).unwrap_or(Kind::Hole)
    };
    units.flat_map(|unit| vec![strongest(unit); unit.len()]).collect()
}

fn count(source: &Content, stats: &mut CopyStats) {
    for (block, kind) in source.bytes.chunks(BLOCK as usize).zip(&source.kinds) {
        *match kind {
            Kind::Data => &mut stats.kinds.data_bytes,
            Kind::Zero => &mut stats.kinds.zero_bytes,
            Kind::Hole => &mut stats.kinds.hole_bytes,
        } += block.len() as u64;
    }
}

/// Cut to the size of `like`, or filled up with a hole.
fn resized(mut content: Content, like: &Content) -> Content {
    content.bytes.resize(like.bytes.len(), 0);
    content.kinds.resize(like.kinds.len(), Kind::Hole);
    content
}
