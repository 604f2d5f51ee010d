//! What copying a replica directory would do.

use std::sync::Arc;

use lacuna::copy::{self, CopyPlan};
use lacuna::{Cancel, Links, Progress};

use super::place::{Place, open, patiently, within};
use super::{ReplicaOptions, Run};
use crate::error::{Error, Result};
use crate::v2::{self, Dry, Landing};

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
    let run = Run { source, target, options, progress, cancel };
    run.refuse_same()?;
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
        let layer = run.plan_layer(layer, dry, found.is_new)?;
        plan.copy.merge(&layer);
        plan.copy.free_bytes = layer.free_bytes.or(plan.copy.free_bytes);
        if let Some(written) = layer.written_bytes {
            *plan.copy.written_bytes.get_or_insert(0) += written;
        }
    }
    progress.finish();
    Ok(plan)
}

impl Run<'_> {
    /// `is_new`: there is no directory at the target yet.
    fn plan_layer(&self, layer: &str, dry: Dry, is_new: bool) -> Result<CopyPlan> {
        let Self { options, progress, cancel, .. } = self;
        match (self.source, self.target) {
            (Place::Here(source), _) if is_new => {
                Ok(copy::plan_remote(&*open(&source.join(layer), options)?)?)
            }
            (Place::Here(source), Place::Here(target)) => {
                let (source, target) = (open(&source.join(layer), options)?, target.join(layer));
                Ok(match dry {
                    Dry::Plan => copy::plan(&source, &target, &options.copy)?,
                    Dry::Compare => {
                        copy::compare(&source, &target, &options.copy, progress, cancel)?
                    }
                })
            }
            (Place::Here(source), Place::There(target)) => {
                let (source, target) = (open(&source.join(layer), options)?, within(target, layer));
                patiently(|| v2::plan_push(&source, &target, dry, &options.sync, progress, cancel))
            }
            (Place::There(source), Place::Here(target)) => {
                let (path, io) = (target.join(layer), options.copy.io);
                let landing = Landing { path, io, links: Links::Refuse, mode: options.copy.mode };
                let source = within(source, layer);
                patiently(|| v2::plan_pull(&source, &landing, dry, &options.sync, progress, cancel))
            }
            (Place::There(_), Place::There(_)) => {
                Err(Error::State("two directories that are both behind servers"))
            }
        }
    }
}
