//! Snapshot chains: layers on top of each other that read as one image. A block is that of the newest layer
//! that has anything there; a layer that is shorter than the volume has nothing past its end.

pub mod check;
mod checksum;
pub mod diff;
mod error;
mod files;
mod keys;
pub mod ls;
mod meta;
mod one_file;
mod rebuild;
mod replica;
pub mod squash;
mod tree;

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
pub use crate::layer::refuse_layer;
use crate::layer::{check_layout, refuse_larger};
use crate::locked::LockedImage;
use crate::open::{Access, ImageOptions, IoMode, Links};
use crate::progress::Cancel;
use crate::source::Source;
pub use checksum::ChecksumState;
pub use error::ChainError;
pub use files::{Files, Looked, is_ours};
pub use meta::{LayerMeta, VolumeMeta};
pub use rebuild::{Rebuild, RebuildLock};
pub use replica::Replica;

/// How to read a chain.
#[derive(Clone, Debug, Default)]
pub struct ChainOptions {
    /// Direct or buffered.
    pub io: IoMode,
    /// A raw image under the oldest layer.
    pub backing: Option<PathBuf>,
    /// Read although others may write meanwhile, or the replica is not complete.
    pub force: bool,
}

/// Opens the chain of the images `base_to_tip`, whatever `.meta` files say: where that of the first names a parent
/// that is not among them, there is a warning. It is as large as the largest.
///
/// # Errors
///
/// What is wrong with an image, or with its place in the chain.
pub fn open(base_to_tip: &[PathBuf], options: &ChainOptions, cancel: &Cancel) -> Result<Source> {
    let newest_first: Vec<_> = base_to_tip.iter().rev().cloned().collect();
    let source = open_layers(&newest_first, None, options, cancel)?;
    warn_without_parent(base_to_tip, options);
    Ok(source)
}

/// A list may have been meant to begin with an older layer.
fn warn_without_parent(base_to_tip: &[PathBuf], options: &ChainOptions) {
    let Some(base) = base_to_tip.first() else { return };
    let parent = match LayerMeta::read(base) {
        Ok(meta) => meta.unwrap_or_default().parent,
        // It is not believed anyway.
        Err(error) => return tracing::warn!("{}", crate::describe(&error)),
    };
    let is_listed = |path: &PathBuf| path.file_name() == Some(OsStr::new(&parent));
    if !parent.is_empty() && !base_to_tip.iter().any(is_listed) {
        let reads = if options.backing.is_some() { "is missing" } else { "reads as zeros" };
        tracing::warn!(
            "{}: its .meta file names {parent}, which is not in the list: what that holds {reads}",
            base.display()
        );
    }
}

/// The same of a volume of `size`, where that is known; otherwise it is that of its newest layer.
fn open_layers(
    newest_first: &[PathBuf],
    size: Option<u64>,
    options: &ChainOptions,
    cancel: &Cancel,
) -> Result<Source> {
    let layers = stacked(newest_first, |path| open_layer(path, options, cancel))?;
    let mut layers = layers.into_iter();
    let tip = layers.next().ok_or(ChainError::NoLayers)?;
    let size = size.unwrap_or(tip.image().size());
    if tip.image().size() > size {
        let (layer, layer_size) = (tip.image().path().to_owned(), tip.image().size());
        return Err(ChainError::LargerThanVolume { layer, layer_size, size }.into());
    }
    let backing = options.backing.as_deref().map(|path| open_backing(path, options.io));
    Ok(Source::of_chain(tip, layers.chain(backing.transpose()?).collect(), size))
}

/// Opens layers that stand on each other.
fn stacked(
    newest_first: &[PathBuf],
    open: impl Fn(&Path) -> Result<LockedImage>,
) -> Result<Vec<LockedImage>> {
    let mut layers: Vec<LockedImage> = vec![];
    for path in newest_first {
        let layer = open(path)?;
        if let Some(same) = layers.iter().find(|other| other.stamp().id == layer.stamp().id) {
            let (layer, other) = (path.clone(), same.image().path().to_owned());
            return Err(match layer == other {
                true => Error::SameFile { source_path: other, target: layer },
                false => ChainError::OneFile { layer, other }.into(),
            });
        }
        if let Some(above) = layers.last().map(LockedImage::image) {
            refuse_larger(layer.image(), above.path(), above.size())?;
        }
        layers.push(layer);
    }
    Ok(layers)
}

fn open_layer(path: &Path, options: &ChainOptions, cancel: &Cancel) -> Result<LockedImage> {
    let image = ImageOptions {
        io: options.io,
        access: Access::Read,
        links: Links::Refuse,
        ..ImageOptions::default()
    };
    let layer = match options.force {
        true => LockedImage::open(path, &image)?,
        false => {
            let layer = LockedImage::open_leased(path, &image, cancel)?;
            layer.warn_without_lease();
            layer
        }
    };
    check_layout(layer.image())?;
    Ok(layer)
}

/// What other volumes may read at the same time.
fn open_backing(path: &Path, io: IoMode) -> Result<LockedImage> {
    let backing = LockedImage::open(path, &ImageOptions { io, ..ImageOptions::default() })?;
    let mut magic = [0; QCOW.len()];
    let read = backing.image().file().take(magic.len() as u64).read(&mut magic);
    match read.map_err(|error| Error::io("read", path, error))? {
        _ if magic == QCOW => Err(ChainError::NotRaw { backing: path.to_owned() }.into()),
        _ => Ok(backing),
    }
}

/// What an image of QEMU's own format begins with.
const QCOW: [u8; 4] = *b"QFI\xfb";
