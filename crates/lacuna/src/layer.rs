//! Two layers of a snapshot chain, or what might be one: are they what they are taken for?

use std::path::{Path, PathBuf};

use crate::beside;
use crate::chain::{ChainError, LayerMeta};
use crate::error::{Error, Result};
use crate::extent::BLOCK;
use crate::image::Image;
use crate::layout::LayoutOrigin;
use crate::lease;
use crate::open::{Access, ImageOptions, IoMode};
use crate::progress::Cancel;
use crate::source::Source;
use crate::stamp::FileId;
use crate::target::{Target, TargetOptions};

/// How to open a child and its parent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerOptions {
    pub(crate) io: IoMode,
    /// What the child is opened for.
    pub(crate) child: Access,
    /// Believe the caller, whatever the `.meta` files say.
    pub(crate) force: bool,
}

/// Opens and locks a child and its parent, which nobody else may have open for writing.
///
/// # Errors
///
/// Whatever shows that the two are not a layer and the one below it.
pub(crate) fn open_pair(
    child: &Path,
    parent: &Path,
    options: &LayerOptions,
    cancel: &Cancel,
) -> Result<(Source, Target)> {
    if !options.force {
        check_chain(child, parent)?;
    }
    let metadata = std::fs::metadata(parent).map_err(|error| Error::io("open", parent, error))?;
    let source = ImageOptions { io: options.io, access: options.child, ..ImageOptions::default() };
    let source = Source::open_leased(child, &source, cancel)?;
    source.refuse_same(parent)?;
    if metadata.is_file() {
        lease::refuse_writers(parent, cancel)?;
    }
    let target = TargetOptions { io: options.io, ..TargetOptions::default() };
    let target = open_parent(&source, parent, &target)?;
    Ok((source, target))
}

/// Opens and locks the parent of `child`, which must be there.
pub(crate) fn open_parent(
    child: &Source,
    parent: &Path,
    options: &TargetOptions,
) -> Result<Target> {
    // Somebody may have removed it since it was looked at.
    let target = Target::open_existing(parent, options)?;
    child.layers().try_for_each(|layer| check_layout(layer.image()))?;
    if !target.image().is_device() {
        check_layout(target.image())?;
        refuse_larger(target.image(), child.path(), child.size())?;
    }
    target.image().refuse_smaller(child.size())?;
    Ok(target)
}

/// Fails when `parent` is larger than `child` of `child_size`.
pub(crate) fn refuse_larger(parent: &Image, child: &Path, child_size: u64) -> Result<()> {
    match parent.size() > child_size {
        true => Err(Error::LargerParent {
            parent: parent.path().to_owned(),
            parent_size: parent.size(),
            child: child.to_owned(),
            child_size,
        }),
        false => Ok(()),
    }
}

/// Fails when what is allocated cannot be known for each block.
pub(crate) fn check_layout(image: &Image) -> Result<()> {
    match LayoutOrigin::of(image)? {
        LayoutOrigin::Fiemap => {}
        origin => return Err(Error::NoLayout { path: image.path().to_owned(), origin }),
    }
    match image.allocation_unit() > BLOCK {
        true => {
            let (path, unit) = (image.path().to_owned(), image.allocation_unit());
            Err(Error::LargeBlocks { path, unit })
        }
        false => Ok(()),
    }
}

/// Fails when there are `.meta` files and they do not say that `child` is the only child of `parent`.
fn check_chain(child: &Path, parent: &Path) -> Result<()> {
    let (child, parent) = (beside::resolve(child)?, beside::resolve(parent)?);
    let recorded = LayerMeta::read(&child)?;
    if recorded.is_none() && LayerMeta::read(&parent)?.is_none() {
        return Ok(());
    }
    let same_place = child.parent() == parent.parent();
    if !recorded.as_ref().is_some_and(|meta| same_place && meta.names(&parent)) {
        let recorded = recorded.map(|meta| meta.parent).filter(|parent| !parent.is_empty());
        return Err(Error::NotItsParent { child, parent, recorded });
    }
    [&child, &parent].into_iter().try_for_each(|layer| refuse_two_names(layer))?;
    match other_child(&parent, Some(&LayerMeta::path_of(&child)))? {
        Some(other) => Err(Error::SharedParent { parent, other }),
        None => Ok(()),
    }
}

/// Fails when the file of `layer` is that of another layer as well, as an interrupted squash leaves it: what is
/// written to the one is written to the other.
fn refuse_two_names(layer: &Path) -> Result<()> {
    let mut others = beside::names_of(layer)?.into_iter().filter(|name| name != layer);
    match others.find(|name| LayerMeta::path_of(name).exists()) {
        Some(other) => Err(ChainError::OneFile { layer: layer.to_owned(), other }.into()),
        None => Ok(()),
    }
}

/// A `.meta` file, other than `known`, whose layer has `parent` as its parent.
pub(crate) fn other_child(parent: &Path, known: Option<&Path>) -> Result<Option<PathBuf>> {
    for path in beside::siblings(parent)? {
        let image = path.to_str().and_then(|path| path.strip_suffix(".meta"));
        let Some(image) = image.filter(|image| image.ends_with(".img")) else { continue };
        if Some(&*path) != known
            && LayerMeta::read(Path::new(image))?.is_some_and(|meta| meta.names(parent))
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Fails when `path` leads to a layer of a chain, as far as names and `.meta` files tell: there, a
/// block of zeros hides what the parent has.
///
/// # Errors
///
/// [`Error::IsLayer`], or the system's.
pub fn refuse_layer(path: &Path) -> Result<()> {
    let real = beside::resolve(path)?;
    let id = |path: &Path| std::fs::metadata(path).map(|metadata| FileId::from_metadata(&metadata));
    let own = id(&real).map_err(|error| Error::io("stat", path, error))?;
    let mut names = vec![path.to_owned(), real.clone()];
    // Other names of the same file.
    names.extend(
        beside::siblings(&real)?.into_iter().filter(|name| id(name).is_ok_and(|id| id == own)),
    );
    for name in names {
        let meta = LayerMeta::path_of(&name);
        let evidence = match (meta.exists(), has_layer_name(&name)) {
            (true, _) => Some(meta),
            (false, true) => Some(name),
            (false, false) => other_child(&name, None)?,
        };
        if let Some(evidence) = evidence {
            return Err(Error::IsLayer { path: path.to_owned(), evidence });
        }
    }
    Ok(())
}

/// `volume-head-….img`, `volume-snap-….img`, `volume-delta-….img`, and what is made of such by adding
/// to the name.
pub(crate) fn has_layer_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let prefixes: [&[u8]; 3] = [b"volume-head-", b"volume-snap-", b"volume-delta-"];
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}
