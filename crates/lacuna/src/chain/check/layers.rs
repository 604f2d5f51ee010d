//! The layers of a directory, each looked at by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::finding::Code;
use super::listing::Listing;
use super::{Checked, is_empty};
use crate::chain::checksum::ChecksumState;
use crate::chain::{LayerMeta, VolumeMeta};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::layer::{check_layout, has_layer_name};
use crate::lease;
use crate::open::{ImageOptions, IoMode, Links};
use crate::progress::Cancel;
use crate::stamp::FileId;

/// What is known of a layer.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) meta: Option<LayerMeta>,
    /// Which file it is, and its size.
    pub(super) image: Option<(FileId, u64)>,
}

/// The layers of a directory.
#[derive(Default)]
pub(super) struct Layers {
    /// By the names of their files; also what has only one of image and description.
    pub(super) all: BTreeMap<String, Layer>,
    /// Those with a fresh checksum, and what they have allocated, in bytes.
    pub(super) fresh: Vec<(PathBuf, u64)>,
}

impl Layers {
    /// Looks at every image and every description.
    pub(super) fn look(
        directory: &Path,
        listing: &Listing,
        volume: Option<&VolumeMeta>,
        checked: &mut Checked,
        cancel: &Cancel,
    ) -> Result<Self> {
        let mut layers = Self::default();
        for name in &listing.described {
            let meta = read_meta(&directory.join(name), name, checked);
            layers.all.insert(name.clone(), Layer { meta, image: None });
        }
        let named: BTreeSet<String> = layers
            .all
            .values()
            .filter_map(|layer| layer.meta.as_ref())
            .map(|meta| meta.parent.clone())
            .chain(volume.map(|volume| volume.head.clone()))
            .collect();
        for name in &listing.images {
            cancel.check()?;
            if layers.all.contains_key(name) || undescribed(name, &named, checked) {
                let layer = layers.all.entry(name.clone()).or_default();
                let image = directory.join(name);
                match look(&image, name, &mut layers.fresh, checked, cancel) {
                    Err(Error::Cancelled) => return Err(Error::Cancelled),
                    Err(error) => checked.errors.push(error),
                    Ok(image) => layer.image = image,
                }
            }
        }
        for name in listing.described.difference(&listing.images) {
            checked.add(Code::ImageMissing, name, "is missing, its .meta file is there");
        }
        for name in listing.checksums.difference(&listing.images) {
            let what = "has no image beside it";
            checked.add(Code::StrayFile, format!("{name}.checksum"), what);
        }
        Ok(layers)
    }
}

fn read_meta(image: &Path, name: &str, checked: &mut Checked) -> Option<LayerMeta> {
    let file = format!("{name}.meta");
    match LayerMeta::read(image) {
        Ok(meta) => return meta,
        Err(Error::Malformed { .. }) if is_empty(&LayerMeta::path_of(image)) => {
            checked.add(Code::LayerMetaMalformed, file, "is empty");
        }
        Err(Error::Malformed { reason, .. }) => {
            checked.add(Code::LayerMetaMalformed, file, format!("is malformed: {reason}"));
        }
        Err(error) => checked.errors.push(error),
    }
    None
}

/// Whether an image without a description must be a layer of the chain.
fn undescribed(name: &str, named: &BTreeSet<String>, checked: &mut Checked) -> bool {
    let is_layer = named.contains(name) || has_layer_name(Path::new(name));
    match is_layer {
        true if !named.contains(name) && name.starts_with("volume-delta-") => {
            checked.add(Code::Leftover, name, "is what a restore was writing");
            return false;
        }
        true => checked.add(Code::LayerMetaMissing, format!("{name}.meta"), "is missing"),
        false => checked.add(Code::StrayFile, name, "is no layer of the chain"),
    }
    is_layer
}

/// Looks at an image; `None` where there is none after all, or something else.
fn look(
    path: &Path,
    name: &str,
    fresh: &mut Vec<(PathBuf, u64)>,
    checked: &mut Checked,
    cancel: &Cancel,
) -> Result<Option<(FileId, u64)>> {
    let metadata =
        std::fs::symlink_metadata(path).map_err(|error| Error::io("stat", path, error))?;
    if !metadata.is_file() {
        let what = if metadata.is_symlink() { "a symbolic link" } else { "no regular file" };
        checked.add(Code::NotRegular, name, format!("is {what}"));
        return Ok(None);
    }
    let seen = (FileId::from_metadata(&metadata), metadata.len());
    let options =
        ImageOptions { io: IoMode::Buffered, links: Links::Refuse, ..ImageOptions::default() };
    let image = lease::refuse_writers(path, cancel).and_then(|()| Image::open(path, &options));
    let image = match image {
        Err(Error::OpenForWriting { .. }) => {
            checked.add(Code::InUse, name, "is open for writing in another process");
            Image::open(path, &options)?
        }
        Err(Error::Busy { .. }) => {
            checked.add(Code::InUse, name, "is in use by another process alone");
            return Ok(Some(seen));
        }
        image => image?,
    };
    look_at_layout(&image, checked)?;
    if look_at_checksum(&image, name, checked)? == ChecksumState::Fresh {
        fresh.push((path.to_owned(), image.allocated_bytes()?));
    }
    Ok(Some((image.stamp()?.id, image.size())))
}

/// Says once what is true of a whole filesystem.
fn look_at_layout(image: &Image, checked: &mut Checked) -> Result<()> {
    let (code, what) = match check_layout(image) {
        Err(Error::NoLayout { .. }) => {
            (Code::NoFiemap, "is on a filesystem that does not show what is allocated".to_owned())
        }
        Err(Error::LargeBlocks { unit, .. }) => {
            (Code::LargeBlocks, format!("is on a filesystem that allocates {unit} bytes at a time"))
        }
        other => return other,
    };
    if !checked.findings.iter().any(|finding| finding.code == code) {
        checked.add(code, ".", what);
    }
    Ok(())
}

fn look_at_checksum(image: &Image, name: &str, checked: &mut Checked) -> Result<ChecksumState> {
    let state = ChecksumState::of(image)?;
    let (code, what) = match state {
        ChecksumState::SilentlyCorrupted => {
            (Code::SilentlyCorrupted, "was found to be corrupted, says its checksum file")
        }
        ChecksumState::Malformed => (Code::ChecksumMalformed, "does not hold a checksum"),
        ChecksumState::Stale => {
            (Code::ChecksumStale, "speaks of its layer as it was before it was last changed")
        }
        _ => return Ok(state),
    };
    let file = match code {
        Code::SilentlyCorrupted => name.to_owned(),
        _ => format!("{name}.checksum"),
    };
    checked.add(code, file, what);
    Ok(state)
}
