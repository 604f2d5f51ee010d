//! Making one replica directory a copy of another: on this machine, or to or from a server.
//!
//! The target first says that it is being rebuilt, durably; its own `volume.meta` comes last. At every instant
//! it is complete or says that it is not.

mod place;
mod plan;
mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lacuna::chain::{Looked, Rebuild, Replica, VolumeMeta};
use lacuna::copy::CopyOptions;
use lacuna::{Cancel, Kept, Progress};

use crate::error::{Error, Result};
use crate::v2::{Answered, Asked, Stopped, SyncOptions};
pub use place::Place;
pub use plan::{ReplicaPlan, plan};
use way::Way;

/// What is copied beside images and what describes them.
const COUNTER: &str = "revision.counter";

/// How to copy.
#[derive(Clone, Debug, Default)]
pub struct ReplicaOptions {
    /// Between directories on this machine.
    pub copy: CopyOptions,
    /// To or from a server.
    pub sync: SyncOptions,
    /// Copy though others may write to the source meanwhile, or it is not complete itself, or its filesystem does
    /// not tell zeros that hide what is below from holes.
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
/// Whatever is wrong at either end, and whether the target says `Rebuilding` since then: once anything was
/// written it does, until a copy is complete.
pub fn sync(
    source: &Place,
    target: &Place,
    options: &ReplicaOptions,
    progress: &Arc<Progress>,
    cancel: &Cancel,
) -> Result<ReplicaStats, Stopped> {
    let mut options = options.clone();
    options.sync.rebuild = Some(Rebuild::another());
    let run = Run { source, target, options, progress, cancel };
    run.refuse_same()?;
    let content = run.read()?;
    let plan = run.plan(&content)?;
    let kept = Kept::HalfRebuilt(target.shown().to_owned());
    if let Err(cause) = run.ask(target, vec![Asked::Begin(content.volume.clone())]) {
        // It may have begun for all that this end knows.
        let kept = if cause.is_of_the_connection() { kept } else { Kept::Nothing };
        return Err(Stopped { cause: Box::new(cause), kept });
    }
    let rebuilt = run.rebuild(&content, &plan);
    let stats = rebuilt.map_err(|cause| Stopped { cause: Box::new(cause), kept })?;
    progress.finish();
    Ok(stats)
}

struct Run<'a> {
    source: &'a Place,
    target: &'a Place,
    options: ReplicaOptions,
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
    /// All layers of the source, as they were.
    source: BTreeMap<String, Looked>,
    /// What the target has of those that need not be copied, as it was.
    equal: BTreeMap<String, Looked>,
    removed: Vec<String>,
}

impl Run<'_> {
    fn ask(&self, place: &Place, asks: Vec<Asked>) -> Result<Vec<Answered>> {
        place.ask(asks, &self.options, self.progress, self.cancel)
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
        // Without its head it is no volume; and an image that nothing describes is somebody's.
        replica.chain(&replica.volume().head)?;
        let is_lost =
            |name: &&String| name.ends_with(".img") && !replica.layers().contains_key(*name);
        if let Some(image) = names.iter().find(is_lost) {
            return Err(self.source.undescribed(image).into());
        }
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
            return Err(self.source.missing(layer).into());
        }
        for (layer, looked) in &source {
            self.source.refuse_lossy(layer, looked, self.options.force)?;
            self.target.refuse_long(layer)?;
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
        // What is written to one would be written to the other.
        if let Some((name, _)) = target.iter().find(|(_, looked)| looked.links > 1) {
            return Err(self.target.linked(name).into());
        }
        let is_equal = |(layer, target): &(&String, &Looked)| {
            source.get(*layer).is_some_and(|source| source.is_same(target))
        };
        let equal = target.iter().filter(is_equal);
        let equal = equal.map(|(layer, looked)| (layer.clone(), looked.clone())).collect();
        Ok(Plan { source, equal, removed: removed(&theirs, content) })
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

    /// Fails when an image is not what it was.
    fn refuse_changed(&self, place: &Place, before: &BTreeMap<String, Looked>) -> Result<()> {
        let names: Vec<_> = before.keys().cloned().collect();
        let now = self.look(place, &names)?;
        let is_as_it_was = |(name, before): &(&String, &Looked)| {
            now.get(*name).is_some_and(|now| {
                now.change_time == before.change_time && now.layout == before.layout
            })
        };
        match before.iter().find(|image| !is_as_it_was(image)) {
            Some((name, _)) => Err(place.changed(name).into()),
            None => Ok(()),
        }
    }

    /// Fails when both places are one directory, whatever it is called at either; returns whether there is one
    /// at the target.
    fn refuse_same(&self) -> Result<bool> {
        let id = |place| Ok::<_, Error>(self.ask(place, vec![Asked::Identify])?.pop());
        let (source, target) = (id(self.source)?, id(self.target)?);
        let is_there = target != Some(Answered::Text(vec![0; 16]));
        match is_there && source == target {
            true => Err(self.source.same(self.target).into()),
            false => Ok(is_there),
        }
    }

    /// What comes behind the beginning.
    fn rebuild(&self, content: &Content, plan: &Plan) -> Result<ReplicaStats> {
        let mut stats = ReplicaStats {
            layers: content.layers.len() as u64,
            size_bytes: content.volume_size,
            ..ReplicaStats::default()
        };
        for layer in &content.layers {
            self.cancel.check()?;
            if plan.equal.contains_key(layer) {
                stats.skipped_layers += 1;
                continue;
            }
            self.progress.restart();
            Way::of(self, layer)?.copy(self, &mut stats)?;
        }
        self.finish(content, plan, &mut stats)?;
        Ok(stats)
    }

    /// What comes behind the images. The source must say what it said before.
    fn finish(&self, content: &Content, plan: &Plan, stats: &mut ReplicaStats) -> Result<()> {
        if self.read()? != *content {
            return Err(self.source.changed(VolumeMeta::NAME).into());
        }
        self.refuse_changed(self.source, &plan.source)?;
        self.refuse_changed(self.target, &plan.equal)?;
        let mut asks: Vec<_> = content
            .small
            .iter()
            .map(|(name, text)| Asked::Put(name.clone(), text.clone()))
            .collect();
        // Another copy may have brought something since this one looked.
        let removed = removed(&self.names(self.target)?, content);
        stats.removed_files = removed.len() as u64;
        asks.extend(removed.into_iter().map(Asked::Remove));
        self.ask(self.target, asks)?;
        // Alone, so that it is fine when it is done and its answer was lost.
        self.ask(self.target, vec![Asked::End(content.volume.clone())]).map(drop)
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

fn out_of_place() -> Error {
    Error::malformed("an Answer", "is none to what was asked")
}
