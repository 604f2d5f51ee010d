//! A replica directory of Longhorn: its volume, its layers, and which stands on which. Only read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::meta::{LayerMeta, VolumeMeta};
use super::{ChainError, ChainOptions, open_layers};
use crate::beside;
use crate::error::{Error, Result};
use crate::progress::Cancel;
use crate::source::Source;

/// What the files of a layer end in.
const IMAGE: &str = ".img";

/// A replica directory.
#[derive(Clone, Debug)]
pub struct Replica {
    directory: PathBuf,
    volume: VolumeMeta,
    layers: BTreeMap<String, LayerMeta>,
}

impl Replica {
    /// Reads what `directory` says of its volume and its layers.
    ///
    /// # Errors
    ///
    /// [`ChainError::NotAReplica`], or that a `.meta` file is malformed.
    pub fn open(directory: &Path) -> Result<Self> {
        let Some(volume) = VolumeMeta::read(directory)? else {
            // A directory that is not there says so itself.
            beside::entries(directory)?;
            return Err(ChainError::NotAReplica { directory: directory.to_owned() }.into());
        };
        let mut layers = BTreeMap::new();
        for path in beside::entries(directory)? {
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(name) = name.filter(|name| name.ends_with(IMAGE)) else { continue };
            if let Some(meta) = LayerMeta::read(&path)? {
                layers.insert(name.to_owned(), meta);
            }
        }
        Ok(Self { directory: directory.to_owned(), volume, layers })
    }

    /// The same, of what its files were read to say: `volume.meta`, if it is there, and each `IMAGE.meta` by its
    /// name.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn of_texts(
        directory: &Path,
        volume: Option<&[u8]>,
        metas: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Self> {
        let directory = directory.to_owned();
        let Some(volume) = volume else {
            return Err(ChainError::NotAReplica { directory }.into());
        };
        let volume = VolumeMeta::parse(&directory.join(VolumeMeta::NAME), volume)?;
        let mut layers = BTreeMap::new();
        for (name, text) in metas {
            let image = name.strip_suffix(".meta").filter(|image| image.ends_with(IMAGE));
            let Some(image) = image else { continue };
            layers.insert(image.to_owned(), LayerMeta::parse(&directory.join(name), text)?);
        }
        Ok(Self { directory, volume, layers })
    }

    /// The same, and with it the layers of which the `.meta` file alone is there.
    pub(super) fn with_leftovers(directory: &Path) -> Result<Self> {
        let mut replica = Self::open(directory)?;
        for path in beside::entries(directory)? {
            let name = path.file_name().and_then(|name| name.to_str());
            let image = name.and_then(|name| name.strip_suffix(".meta"));
            let Some(image) = image.filter(|image| image.ends_with(IMAGE)) else { continue };
            let is_known = replica.layers.contains_key(image);
            if !is_known && let Some(meta) = LayerMeta::read(&directory.join(image))? {
                replica.layers.insert(image.to_owned(), meta);
            }
        }
        Ok(replica)
    }

    /// The names of the layers that stand right on `parent`.
    pub(super) fn children<'a>(&'a self, parent: &'a str) -> impl Iterator<Item = &'a str> {
        let children = self.layers.iter().filter(move |(_, meta)| meta.parent == parent);
        children.map(|(name, _)| &**name)
    }

    /// What it says of the volume.
    pub fn volume(&self) -> &VolumeMeta {
        &self.volume
    }

    /// The layers by the names of their files.
    pub fn layers(&self) -> &BTreeMap<String, LayerMeta> {
        &self.layers
    }

    /// The file of a layer.
    pub fn path(&self, layer: &str) -> PathBuf {
        self.directory.join(layer)
    }

    /// The name of the file of a layer, which may be named as Longhorn names a snapshot.
    ///
    /// # Errors
    ///
    /// [`ChainError::NoLayer`].
    pub fn find(&self, layer: &str) -> Result<&str> {
        let names = [layer.to_owned(), format!("volume-snap-{layer}{IMAGE}")];
        let found = names.iter().find_map(|name| self.layers.get_key_value(name));
        found.map(|(name, _)| &**name).ok_or_else(|| {
            let (directory, layer) = (self.directory.clone(), layer.to_owned());
            ChainError::NoLayer { directory, layer, layers: self.layers.keys().cloned().collect() }
                .into()
        })
    }

    /// The names of the layers that `tip` reads through, itself first.
    ///
    /// # Errors
    ///
    /// [`ChainError::NoMeta`], [`ChainError::Cycle`].
    pub fn chain(&self, tip: &str) -> Result<Vec<&str>> {
        let (mut chain, mut next, mut child): (Vec<&str>, &str, Option<&str>) = (vec![], tip, None);
        while !next.is_empty() {
            let Some((name, meta)) = self.layers.get_key_value(next) else {
                let named_by =
                    child.map_or_else(|| VolumeMeta::NAME.into(), |child| format!("{child}.meta"));
                return Err(ChainError::NoMeta { image: self.path(next), named_by }.into());
            };
            if chain.contains(&&**name) {
                return Err(ChainError::Cycle { layer: self.path(name) }.into());
            }
            chain.push(name);
            (next, child) = (&*meta.parent, Some(&**name));
        }
        Ok(chain)
    }

    /// The names of all layers, each behind its parent.
    ///
    /// # Errors
    ///
    /// Those of [`chain`](Self::chain).
    pub fn oldest_first(&self) -> Result<Vec<&str>> {
        let mut layers = vec![];
        for name in self.layers.keys() {
            layers.push((self.chain(name)?.len(), &**name));
        }
        layers.sort_unstable();
        Ok(layers.into_iter().map(|(_, name)| name).collect())
    }

    /// Fails when another replica was being copied here.
    ///
    /// # Errors
    ///
    /// [`ChainError::Rebuilding`].
    pub fn refuse_rebuilding(&self) -> Result<()> {
        match self.volume.rebuilding {
            true => Err(ChainError::Rebuilding { directory: self.directory.clone() }.into()),
            false => Ok(()),
        }
    }

    /// The volume as it reads at `snapshot`, or now: nothing is written, and unless it is forced, nobody may
    /// write meanwhile.
    ///
    /// # Errors
    ///
    /// What is wrong with the directory or with a layer of the chain; [`ChainError::Rebuilding`],
    /// [`ChainError::NeedsBacking`], [`Error::OpenForWriting`](crate::Error::OpenForWriting).
    pub fn source(
        &self,
        snapshot: Option<&str>,
        options: &ChainOptions,
        cancel: &Cancel,
    ) -> Result<Source> {
        if !options.force {
            self.refuse_rebuilding()?;
        }
        let directory = self.directory.clone();
        let backing = &self.volume.backing_file_path;
        if !backing.is_empty() && options.backing.is_none() {
            let backing = PathBuf::from(backing);
            return Err(ChainError::NeedsBacking { directory, backing }.into());
        }
        let tip = snapshot.map_or(Ok(&*self.volume.head), |name| self.find(name))?;
        let chain = self.chain(tip)?;
        self.refuse_one_file(chain.iter().copied())?;
        let newest_first: Vec<_> = chain.iter().map(|name| self.path(name)).collect();
        // Of a snapshot, the size is that of then.
        let size = (tip == self.volume.head).then_some(self.volume.size);
        let source = open_layers(&newest_first, size, options, cancel)?;
        // Before all layers were held, somebody may have merged some of them.
        let now = Self::open(&self.directory)?;
        match now.volume == self.volume && now.chain(tip)? == chain {
            true => Ok(source),
            false => Err(Error::Changed { path: self.directory.join(VolumeMeta::NAME) }),
        }
    }
}
