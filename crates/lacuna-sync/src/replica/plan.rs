//! What copying a replica directory would do.

use std::sync::Arc;

use lacuna::copy::CopyPlan;
use lacuna::{Cancel, Progress};

use super::place::Place;
use super::way::Way;
use super::{ReplicaOptions, Run};
use crate::error::Result;
use crate::v2::Dry;

/// What a copy would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaPlan {
    /// The layers of the source.
    pub layers: u64,
    /// Those that are equal by their checksums and layouts, and not read.
    pub skipped_layers: u64,
    /// Files of the target that the source does not have.
    pub removed_files: Vec<String>,
    /// Of all layers that are copied or compared. Its size is that of the volume.
    pub copy: CopyPlan,
}

/// What [`sync`](super::sync) would do. Writes nothing.
///
/// # Errors
///
/// What would be wrong at either end, as far as that shows without writing.
pub fn plan(
    source: &Place,
    target: &Place,
    dry: Dry,
    options: &ReplicaOptions,
    progress: &Arc<Progress>,
    cancel: &Cancel,
) -> Result<ReplicaPlan> {
    let run = Run { source, target, options: options.clone(), progress, cancel };
    let is_there = run.refuse_same()?;
    let content = run.read()?;
    let found = run.plan(&content)?;
    let mut plan = ReplicaPlan {
        layers: content.layers.len() as u64,
        skipped_layers: found.equal.len() as u64,
        removed_files: found.removed,
        copy: CopyPlan { size_bytes: content.volume_size, ..CopyPlan::default() },
    };
    for layer in content.layers.iter().filter(|layer| !found.equal.contains_key(*layer)) {
        progress.restart();
        let way = if is_there { Way::of(&run, layer) } else { Way::to_nowhere(&run, layer) };
        let layer = way?.plan(&run, dry)?;
        plan.copy.merge(&layer);
        plan.copy.free_bytes = layer.free_bytes.or(plan.copy.free_bytes);
        if let Some(written) = layer.written_bytes {
            *plan.copy.written_bytes.get_or_insert(0) += written;
        }
    }
    progress.finish();
    Ok(plan)
}
