//! Making one replica directory a copy of another: on this machine, or to or from a server.
//!
//! The target first says that it is being rebuilt, durably; its own `volume.meta` comes last. At every instant
//! it is complete or says that it is not.

mod place;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use lacuna::chain::{Looked, Replica, VolumeMeta};
use lacuna::copy::CopyOptions;
use lacuna::{Cancel, Progress};

use crate::error::{Error, Result};
use crate::v2::{Answered, Asked, SyncOptions};
pub use place::Place;
pub use plan::{ReplicaPlan, plan};

/// What is copied beside images and what describes them.
const COUNTER: &str = "revision.counter";

/// How to copy.
#[derive(Clone, Debug, Default)]
pub struct ReplicaOptions {
    /// Between directories on this machine.
    pub copy: CopyOptions,
    /// To or from a server.
    pub sync: SyncOptions,
    /// Copy though others may write to the source meanwhile, or it is not complete itself.
    pub force: bool,
}

/// What was done, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaStats {
    /// The layers of the source.
    pub layers: u64,
    /// Those that were equal by their checksums and layouts, and not read.
    pub skipped_layers: u64,
    /// Files of the target that the source does not have.
    pub removed_files: u64,
    /// Of the volume.
    pub size_bytes: u64,
    /// Read from the source.
    pub read_bytes: u64,
    /// Read from the target and compared.
    pub compared_bytes: u64,
    /// Of images, sent.
    pub sent_bytes: u64,
    /// Both ways, of images.
    pub wire_bytes: u64,
    /// Written to images.
    pub written_bytes: u64,
}

/// Makes the replica directory `target` what `source` is: durable when this returns, to be repeated when it
/// fails.
///
/// # Errors
///
/// Whatever is wrong at either end. Once anything was written, the target says `Rebuilding` until a copy is
/// complete.
pub fn sync(
    source: &Place,
    target: &Place,
    options: &ReplicaOptions,
    progress: &Arc<Progress>,
    cancel: &Cancel,
) -> Result<ReplicaStats> {
    source.refuse_same(target)?;
    let run = Run { source, target, options, progress, cancel };
    let content = run.read()?;
    let plan = run.plan(&content)?;
    let mut stats = ReplicaStats {
        layers: content.layers.len() as u64,
        size_bytes: content.volume_size,
        ..ReplicaStats::default()
    };
    run.put(target, vec![(VolumeMeta::NAME.to_owned(), rebuilding(&content.volume)?)])?;
    for layer in &content.layers {
        cancel.check()?;
        if plan.equal.contains(layer) {
            stats.skipped_layers += 1;
            continue;
        }
        progress.restart();
        source.layer_to(target, layer, options, progress, cancel, &mut stats)?;
    }
    run.finish(&content, &plan, &mut stats)?;
    progress.finish();
    Ok(stats)
}

struct Run<'a> {
    source: &'a Place,
    target: &'a Place,
    options: &'a ReplicaOptions,
    progress: &'a Arc<Progress>,
    cancel: &'a Cancel,
}

/// What the small files of a source say.
#[derive(PartialEq, Eq)]
struct Content {
    volume: Vec<u8>,
    volume_size: u64,
    /// From the oldest to the newest.
    layers: Vec<String>,
    /// By their names; the counter too.
    small: BTreeMap<String, Vec<u8>>,
}

/// What need not be copied, and what must go.
struct Plan {
    equal: BTreeSet<String>,
    removed: Vec<String>,
    /// There is nothing at the target yet.
    is_new: bool,
}

impl Run<'_> {
    fn ask(&self, place: &Place, asks: Vec<Asked>) -> Result<Vec<Answered>> {
        place.ask(asks, self.options, self.progress, self.cancel)
    }

    fn names(&self, place: &Place) -> Result<BTreeSet<String>> {
        match self.ask(place, vec![Asked::List])?.pop() {
            Some(Answered::Names(names)) => Ok(names),
            _ => Err(out_of_place()),
        }
    }

    /// The small files of the source; fails when it is no replica that may be copied.
    fn read(&self) -> Result<Content> {
        let names = self.names(self.source)?;
        let is_small = |name: &&String| name.ends_with(".meta") || **name == COUNTER;
        let small: Vec<_> = names.iter().filter(is_small).cloned().collect();
        let asks = small.iter().cloned().map(Asked::Read).collect();
        let mut texts = BTreeMap::new();
        for (name, answered) in small.into_iter().zip(self.ask(self.source, asks)?) {
            let Answered::Text(text) = answered else { return Err(out_of_place()) };
            texts.insert(name, text);
        }
        let directory = self.source.shown();
        let volume = texts.remove(VolumeMeta::NAME);
        let replica = Replica::of_texts(directory, volume.as_deref(), &texts)?;
        if !self.options.force {
            replica.refuse_rebuilding()?;
        }
        Ok(Content {
            volume: volume.unwrap_or_default(),
            volume_size: replica.volume().size,
            layers: replica.oldest_first()?.into_iter().map(str::to_owned).collect(),
            small: texts,
        })
    }

    fn plan(&self, content: &Content) -> Result<Plan> {
        let theirs = self.names(self.target)?;
        let images: Vec<_> = theirs.iter().filter(|name| name.ends_with(".img")).cloned().collect();
        let source = self.look(self.source, &content.layers)?;
        let target = self.look(self.target, &images)?;
        if let Some(layer) = content.layers.iter().find(|layer| !source.contains_key(*layer)) {
            let named_by = format!("{layer}.meta");
            return Err(self.source.missing(layer, named_by).into());
        }
        let in_use = |looked: &BTreeMap<String, Looked>| {
            looked.iter().find(|(_, looked)| looked.in_use).map(|(name, _)| name.clone())
        };
        if let Some(name) = in_use(&source).filter(|_| !self.options.force) {
            return Err(self.source.in_use(&name).into());
        }
        if let Some(name) = in_use(&target) {
            return Err(self.target.in_use(&name).into());
        }
        let is_equal = |layer: &&String| {
            let both = source.get(*layer).zip(target.get(*layer));
            both.is_some_and(|(source, target)| source.is_same(target))
        };
        let equal = content.layers.iter().filter(is_equal).cloned().collect();
        Ok(Plan { equal, removed: removed(&theirs, content), is_new: theirs.is_empty() })
    }

    fn look(&self, place: &Place, images: &[String]) -> Result<BTreeMap<String, Looked>> {
        let asks = images.iter().cloned().map(Asked::Look).collect();
        let mut looked = BTreeMap::new();
        for (name, answered) in images.iter().zip(self.ask(place, asks)?) {
            match answered {
                Answered::Looked(Some(found)) => drop(looked.insert(name.clone(), found)),
                Answered::Looked(None) => {}
                _ => return Err(out_of_place()),
            }
        }
        Ok(looked)
    }

    fn put(&self, place: &Place, files: Vec<(String, Vec<u8>)>) -> Result<()> {
        let asks = files.into_iter().map(|(name, text)| Asked::Put(name, text)).collect();
        self.ask(place, asks).map(drop)
    }

    /// What comes behind the images. The source must say what it said before.
    fn finish(&self, content: &Content, plan: &Plan, stats: &mut ReplicaStats) -> Result<()> {
        if self.read()? != *content {
            let path = Path::new(self.source.shown()).join(VolumeMeta::NAME);
            return Err(lacuna::Error::Changed { path }.into());
        }
        let mut asks: Vec<_> = content
            .small
            .iter()
            .map(|(name, text)| Asked::Put(name.clone(), text.clone()))
            .collect();
        asks.extend(plan.removed.iter().cloned().map(Asked::Remove));
        stats.removed_files = plan.removed.len() as u64;
        self.ask(self.target, asks)?;
        self.put(self.target, vec![(VolumeMeta::NAME.to_owned(), content.volume.clone())])
    }
}

/// What of a target's files the source does not have. Its checksums are of its own images.
fn removed(theirs: &BTreeSet<String>, content: &Content) -> Vec<String> {
    let is_ours = |name: &str| {
        let image = name.strip_suffix(".checksum").unwrap_or(name);
        content.layers.iter().any(|layer| layer == image)
            || content.small.contains_key(name)
            || name == VolumeMeta::NAME
    };
    theirs.iter().filter(|name| !is_ours(name)).cloned().collect()
}

/// `volume`, but not complete.
fn rebuilding(volume: &[u8]) -> Result<Vec<u8>> {
    let failed = |error: serde_json::Error| lacuna::Error::Malformed {
        path: VolumeMeta::NAME.into(),
        reason: error.to_string(),
    };
    let mut value: serde_json::Value = serde_json::from_slice(volume).map_err(failed)?;
    if let Some(object) = value.as_object_mut() {
        object.insert("Rebuilding".to_owned(), true.into());
    }
    let mut text = serde_json::to_vec(&value).map_err(failed)?;
    text.push(b'\n');
    Ok(text)
}

fn out_of_place() -> Error {
    Error::malformed("an Answer", "is none to what was asked")
}
