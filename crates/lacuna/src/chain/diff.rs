//! Are two replicas of one volume the same? Layer by layer, and, where they are not, as the volume reads.

use std::os::unix::fs::MetadataExt;

use super::{ChainOptions, LayerMeta, Replica, open_layer, tree};
use crate::diff::{DiffStats, Difference, compare};
use crate::error::{Error, Result};
use crate::lease;
use crate::progress::{Cancel, Progress};
use crate::source::Source;

/// How to compare.
#[derive(Clone, Debug, Default)]
pub struct ReplicaDiffOptions {
    /// How both are read.
    pub chain: ChainOptions,
    /// How images are compared.
    pub diff: crate::diff::DiffOptions,
}

/// Where two replicas differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaDiff {
    /// Those of the first from the base up, then those that only the second has.
    pub layers: Vec<LayerDiff>,
    /// The volume as it reads.
    pub volume: VolumeDiff,
}

/// A layer of one replica, and that of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerDiff {
    /// In the first replica.
    pub left: Option<Side>,
    /// In the second replica. The heads stand for each other, whatever their names.
    pub right: Option<Side>,
    /// Which of the described differ, by their names in JSON: `parent`, `removed`, `user_created`, `labels`.
    pub metadata: Vec<&'static str>,
    /// Of the images, where both have one.
    pub stats: Option<DiffStats>,
}

/// A layer of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The name of its file.
    pub name: String,
    /// How it is described.
    pub meta: LayerMeta,
}

/// Whether two volumes read the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeDiff {
    /// All that they read through is.
    Same,
    /// They were read. Kinds do not count: zeros read as holes do.
    Read(DiffStats),
    /// They cannot be read without the backing image.
    Unknown,
}

/// Of what a range is that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Of the layer that has this name in the first replica.
    Layer(&'a str),
    /// Of the volume as it reads.
    Volume,
}

impl ReplicaDiff {
    /// Whether nothing differs.
    pub fn is_same(&self) -> bool {
        self.layers.iter().all(LayerDiff::is_same) && self.volume.is_same() == Some(true)
    }
}

impl LayerDiff {
    /// Whether both have it, and nothing differs.
    pub fn is_same(&self) -> bool {
        self.metadata.is_empty() && self.holds_same()
    }

    fn holds_same(&self) -> bool {
        self.stats.as_ref().is_some_and(DiffStats::is_same)
    }
}

impl VolumeDiff {
    /// Whether nothing differs, as far as that is known.
    pub fn is_same(&self) -> Option<bool> {
        match self {
            Self::Same => Some(true),
            Self::Read(stats) => Some(stats.is_same()),
            Self::Unknown => None,
        }
    }
}

/// Compares two replicas, and hands every range in which they differ to `found`, in order, layer by layer; then
/// those in which the volumes read differently, if they must be read to know.
///
/// # Errors
///
/// What is wrong with either, what `found` returns;
/// [`ChainError::Rebuilding`](super::ChainError::Rebuilding) and
/// [`Error::OpenForWriting`], unless it is forced.
pub fn diff(
    left: &Replica,
    right: &Replica,
    options: &ReplicaDiffOptions,
    progress: &Progress,
    cancel: &Cancel,
    mut found: impl FnMut(Part<'_>, &Difference) -> Result<()>,
) -> Result<ReplicaDiff> {
    for replica in [left, right] {
        replica.refuse_one_file(replica.layers().keys().map(String::as_str))?;
        refuse_unsettled(replica, &options.chain, cancel)?;
    }
    let mut layers = paired(left, right)?;
    progress.total_bytes.set(allocated_bytes(left, right, &layers)?);
    for layer in &mut layers {
        let (Some(own), Some(other)) = (&layer.left, &layer.right) else { continue };
        let open = |replica: &Replica, side: &Side| -> Result<Source> {
            Ok(open_layer(&replica.path(&side.name), &options.chain, cancel)?.into())
        };
        let (a, b) = (open(left, own)?, open(right, other)?);
        let found = |difference: &Difference| found(Part::Layer(&own.name), difference);
        layer.stats = Some(compare(&a, &b, &options.diff, progress, cancel, found)?);
    }
    let volume = match reads_same(left, right, &layers)? {
        true => VolumeDiff::Same,
        false => read(left, right, options, progress, cancel, |it| found(Part::Volume, it))?,
    };
    progress.finish();
    Ok(ReplicaDiff { layers, volume })
}

/// Fails when what one of them holds may not be whole, or may change.
fn refuse_unsettled(replica: &Replica, options: &ChainOptions, cancel: &Cancel) -> Result<()> {
    if options.force {
        return Ok(());
    }
    replica.refuse_rebuilding()?;
    let mut layers = replica.layers().keys();
    layers.try_for_each(|name| lease::refuse_writers(&replica.path(name), cancel))
}

/// What is to be compared: not known yet is what they have.
fn paired(left: &Replica, right: &Replica) -> Result<Vec<LayerDiff>> {
    let heads = (&left.volume().head, &right.volume().head);
    let side = |replica: &Replica, name: &str| {
        let meta = replica.layers().get(name)?.clone();
        Some(Side { name: name.to_owned(), meta })
    };
    let mut layers: Vec<LayerDiff> = vec![];
    for node in tree::of(left)? {
        let partner = match node.name == *heads.0 {
            true => Some(heads.1),
            false => Some(&node.name).filter(|name| *name != heads.1),
        };
        let partner = partner.and_then(|name| side(right, name));
        layers.push(LayerDiff::of(side(left, &node.name), partner));
    }
    for node in tree::of(right)? {
        let is_known =
            |layer: &LayerDiff| layer.right.as_ref().is_some_and(|it| it.name == node.name);
        if !layers.iter().any(is_known) {
            layers.push(LayerDiff::of(None, side(right, &node.name)));
        }
    }
    Ok(layers)
}

impl LayerDiff {
    fn of(left: Option<Side>, right: Option<Side>) -> Self {
        let mut metadata = vec![];
        if let (Some(Side { meta: a, .. }), Some(Side { meta: b, .. })) = (&left, &right) {
            let differs = [
                ("parent", a.parent != b.parent),
                ("removed", a.removed != b.removed),
                ("user_created", a.user_created != b.user_created),
                ("labels", a.labels != b.labels),
            ];
            metadata.extend(differs.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key));
        }
        Self { left, right, metadata, stats: None }
    }
}

/// Of all layers that both have, together.
fn allocated_bytes(left: &Replica, right: &Replica, layers: &[LayerDiff]) -> Result<u64> {
    let mut sum: u64 = 0;
    for layer in layers {
        let (Some(own), Some(other)) = (&layer.left, &layer.right) else { continue };
        for path in [left.path(&own.name), right.path(&other.name)] {
            let metadata =
                std::fs::metadata(&path).map_err(|error| Error::io("stat", &path, error))?;
            // st_blocks counts in units of 512 bytes, whatever the filesystem's block (stat(2)).
            sum = sum.saturating_add(metadata.blocks().saturating_mul(512));
        }
    }
    Ok(sum)
}

/// Whether both read through the same layers.
fn reads_same(left: &Replica, right: &Replica, layers: &[LayerDiff]) -> Result<bool> {
    let (a, b) = (left.volume(), right.volume());
    let (own, other) = (left.chain(&a.head)?, right.chain(&b.head)?);
    let is_read =
        |layer: &&LayerDiff| layer.left.as_ref().is_some_and(|side| own.contains(&&*side.name));
    Ok((a.size, &a.backing_file_path) == (b.size, &b.backing_file_path)
        && own[1..] == other[1..]
        && layers.iter().filter(is_read).all(LayerDiff::holds_same))
}

/// Compares both volumes as they read.
fn read(
    left: &Replica,
    right: &Replica,
    options: &ReplicaDiffOptions,
    progress: &Progress,
    cancel: &Cancel,
    mut found: impl FnMut(&Difference) -> Result<()>,
) -> Result<VolumeDiff> {
    let has_backing = |replica: &Replica| !replica.volume().backing_file_path.is_empty();
    if options.chain.backing.is_none() && (has_backing(left) || has_backing(right)) {
        return Ok(VolumeDiff::Unknown);
    }
    let open = |replica: &Replica| replica.source(None, &options.chain, cancel);
    let (a, b) = (open(left)?, open(right)?);
    progress.total_bytes.add(a.allocated_bytes()?.saturating_add(b.allocated_bytes()?));
    let mut ranges = 0;
    let stats = compare(&a, &b, &options.diff, progress, cancel, |difference| match difference {
        Difference { left: Some(_), right: Some(_), content: false, .. } => Ok(()),
        other => {
            ranges += 1;
            found(other)
        }
    })?;
    Ok(VolumeDiff::Read(DiffStats { kind_bytes: 0, ranges, kinds_compared: false, ..stats }))
}
