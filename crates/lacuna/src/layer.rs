//! Two layers of a snapshot chain, or what might be one: are they what they are taken for?

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::beside;
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

/// No `.meta` file is larger, in bytes.
const META_LIMIT: u64 = 1 << 20;

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
    // A target that does not exist would be made.
    let metadata = std::fs::metadata(parent).map_err(|error| Error::io("open", parent, error))?;
    let source = ImageOptions { io: options.io, access: options.child, ..ImageOptions::default() };
    let source = Source::open_leased(child, &source, cancel)?;
    source.refuse_same(parent)?;
    if metadata.is_file() {
        lease::refuse_writers(parent, cancel)?;
    }
    let target =
        Target::open(parent, &TargetOptions { io: options.io, ..TargetOptions::default() })?;
    check_layout(source.image())?;
    if !target.image().is_device() {
        check_layout(target.image())?;
        let (parent_size, child_size) = (target.image().size(), source.image().size());
        if parent_size > child_size {
            let (parent, child) = (parent.to_owned(), child.to_owned());
            return Err(Error::LargerParent { parent, parent_size, child, child_size });
        }
    }
    target.image().refuse_smaller(source.image().size())?;
    Ok((source, target))
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

/// What a chain says of a layer, in `IMAGE.meta`.
#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "Parent", default)]
    parent: String,
}

impl Meta {
    fn path(image: &Path) -> PathBuf {
        let mut path = image.as_os_str().to_owned();
        path.push(".meta");
        path.into()
    }

    /// `None` where there is none.
    fn read(path: &Path) -> Result<Option<Self>> {
        let text = match beside::read_limited(path, META_LIMIT) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path, error)),
        };
        let meta = serde_json::from_slice(&text);
        meta.map(Some).map_err(|error| Error::Malformed {
            path: path.to_owned(),
            reason: format!("it should describe a layer: {error}"),
        })
    }

    fn names(&self, parent: &Path) -> bool {
        !self.parent.is_empty() && parent.file_name().is_some_and(|name| name == &*self.parent)
    }
}

/// Fails when there are `.meta` files and they do not say that `child` is the only child of `parent`.
fn check_chain(child: &Path, parent: &Path) -> Result<()> {
    let (child, parent) = (beside::resolve(child)?, beside::resolve(parent)?);
    let recorded = Meta::read(&Meta::path(&child))?;
    if recorded.is_none() && Meta::read(&Meta::path(&parent))?.is_none() {
        return Ok(());
    }
    let same_place = child.parent() == parent.parent();
    if !recorded.as_ref().is_some_and(|meta| same_place && meta.names(&parent)) {
        let recorded = recorded.map(|meta| meta.parent).filter(|parent| !parent.is_empty());
        return Err(Error::NotItsParent { child, parent, recorded });
    }
    match other_child(&parent, Some(&Meta::path(&child)))? {
        Some(other) => Err(Error::SharedParent { parent, other }),
        None => Ok(()),
    }
}

/// A `.meta` file, other than `known`, whose layer has `parent` as its parent.
fn other_child(parent: &Path, known: Option<&Path>) -> Result<Option<PathBuf>> {
    for path in beside::siblings(parent)? {
        let is_meta = path.as_os_str().as_encoded_bytes().ends_with(b".img.meta");
        if is_meta
            && Some(&*path) != known
            && Meta::read(&path)?.is_some_and(|meta| meta.names(parent))
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Fails when `path` leads to a layer of a chain, as far as names and `.meta` files tell: there, a
/// block of zeros hides what the parent has.
pub(crate) fn refuse_layer(path: &Path) -> Result<()> {
    let real = beside::resolve(path)?;
    let id = |path: &Path| std::fs::metadata(path).map(|metadata| FileId::from_metadata(&metadata));
    let own = id(&real).map_err(|error| Error::io("stat", path, error))?;
    let mut names = vec![path.to_owned(), real.clone()];
    // Other names of the same file.
    names.extend(
        beside::siblings(&real)?.into_iter().filter(|name| id(name).is_ok_and(|id| id == own)),
    );
    for name in names {
        let meta = Meta::path(&name);
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
fn has_layer_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let prefixes: [&[u8]; 3] = [b"volume-head-", b"volume-snap-", b"volume-delta-"];
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}
