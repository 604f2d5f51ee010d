//! The way of a layer from one place to the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lacuna::copy::{self, CopyPlan};
use lacuna::{ImageOptions, Links, Source};

use super::place::{Place, patiently};
use super::{ReplicaOptions, ReplicaStats, Run};
use crate::error::{Error, Result};
use crate::v2::{self, Dry, Landing, Remote, Synced};

pub(super) enum Way {
    Local { source: PathBuf, target: PathBuf },
    Push { source: PathBuf, target: Remote },
    Pull { source: Remote, landing: Landing },
}

impl Way {
    /// That of `layer`.
    pub(super) fn of(run: &Run<'_>, layer: &str) -> Result<Self> {
        Self::to(run, layer, run.target.within(layer))
    }

    /// To where the directory would be, which is not there: any new image is planned alike.
    pub(super) fn to_nowhere(run: &Run<'_>, layer: &str) -> Result<Self> {
        Self::to(run, layer, run.target.as_file())
    }

    fn to(run: &Run<'_>, layer: &str, target: Place) -> Result<Self> {
        let options = &run.options;
        Ok(match (run.source.within(layer), target) {
            (Place::Here(source), Place::Here(target)) => Self::Local { source, target },
            (Place::Here(source), Place::There(target)) => Self::Push { source, target },
            (Place::There(source), Place::Here(target)) => {
                let landing = Landing {
                    path: target,
                    io: options.copy.io,
                    links: Links::Refuse,
                    mode: options.copy.mode,
                    rebuild: options.sync.rebuild,
                };
                Self::Pull { source, landing }
            }
            (Place::There(_), Place::There(_)) => {
                return Err(Error::State("two directories that are both behind servers"));
            }
        })
    }

    /// Makes the layer at the target what it is at the source.
    pub(super) fn copy(&self, run: &Run<'_>, stats: &mut ReplicaStats) -> Result<()> {
        let Run { options, progress, cancel, .. } = run;
        match self {
            Self::Local { source, target } => {
                let source = open(source, options)?;
                let rebuild = options.sync.rebuild;
                let _entered = rebuild.map(|rebuild| rebuild.enter(target)).transpose()?;
                let copied = copy::copy(&source, target, &options.copy, progress, cancel);
                let copied = copied.map_err(|stopped| stopped.cause)?;
                stats.read_bytes += copied.read_bytes;
                stats.compared_bytes += copied.compared_bytes;
                stats.written_bytes += copied.written_bytes;
            }
            Self::Push { source, target } => {
                let source = open(source, options)?;
                stats
                    .add(patiently(|| v2::push(&source, target, &options.sync, progress, cancel))?);
            }
            Self::Pull { source, landing } => {
                stats
                    .add(patiently(|| v2::pull(source, landing, &options.sync, progress, cancel))?);
            }
        }
        Ok(())
    }

    /// What [`Way::copy`] would do.
    pub(super) fn plan(&self, run: &Run<'_>, dry: Dry) -> Result<CopyPlan> {
        let Run { options, progress, cancel, .. } = run;
        match self {
            Self::Local { source, target } => {
                let source = open(source, options)?;
                Ok(match dry {
                    Dry::Plan => copy::plan(&source, target, &options.copy)?,
                    Dry::Compare => {
                        copy::compare(&source, target, &options.copy, progress, cancel)?
                    }
                })
            }
            Self::Push { source, target } => {
                let source = open(source, options)?;
                patiently(|| v2::plan_push(&source, target, dry, &options.sync, progress, cancel))
            }
            Self::Pull { source, landing } => {
                patiently(|| v2::plan_pull(source, landing, dry, &options.sync, progress, cancel))
            }
        }
    }
}

impl ReplicaStats {
    fn add(&mut self, (synced, wire_bytes): (Synced, u64)) {
        self.read_bytes += synced.read_bytes;
        self.compared_bytes += synced.compared_bytes;
        self.sent_bytes += synced.sent_bytes;
        self.written_bytes += synced.written_bytes;
        self.wire_bytes += wire_bytes;
    }
}

fn open(image: &Path, options: &ReplicaOptions) -> Result<Arc<Source>> {
    let options =
        ImageOptions { io: options.copy.io, links: Links::Refuse, ..ImageOptions::default() };
    Ok(Arc::new(Source::open(image, &options)?))
}
