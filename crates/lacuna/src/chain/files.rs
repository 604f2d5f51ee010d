//! The files of a replica directory that becomes a copy of another: listed, looked at, replaced, removed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::error::ChainError;
use super::meta::{SMALL, VolumeMeta};
use crate::beside;
use crate::checksum_file::ChecksumFile;
use crate::error::{Error, Result};
use crate::extent::{BLOCK, Kind};
use crate::image::Image;
use crate::layer::has_layer_name;
use crate::layout::{Layout, LayoutOptions, LayoutOrigin, rounded};
use crate::lease;
use crate::mark;
use crate::open::{Access, ImageOptions, Links};
use crate::progress::Cancel;

/// What the name of an image ends in.
const IMAGE: &str = ".img";

/// Another one for each machine, and each time that it starts.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The longest name of a file, in bytes.
const NAME_MAX: usize = 255;

/// What tells whether two layers are equal without reading them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// In bytes.
    pub size: u64,
    /// Of the kinds of all blocks.
    pub layout: [u8; 32],
    /// Method and value of a `.checksum` file that is as fresh as the image.
    pub checksum: Option<(String, String)>,
    /// Where the layout is from, and so which kinds it tells apart.
    pub origin: LayoutOrigin,
    /// An interrupted session left it marked.
    pub is_unfinished: bool,
    /// Somebody has it open for writing.
    pub in_use: bool,
    /// The names that lead to the file.
    pub links: u32,
    /// Seconds and nanoseconds.
    pub change_time: (i64, u32),
}

impl Looked {
    /// Whether `other` is equal for certain: the same bytes by the same fresh checksum, and the same kinds.
    pub fn is_same(&self, other: &Self) -> bool {
        let of = |looked: &Self| (looked.size, looked.layout, looked.checksum.clone());
        self.checksum.is_some() && of(self) == of(other)
    }
}

/// A replica directory that is written.
#[derive(Clone, Debug)]
pub struct Files {
    directory: PathBuf,
}

impl Files {
    /// Those of `directory`, which need not exist.
    pub fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Where they are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where a file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The names of what belongs to a replica, in order; nothing of a directory that does not exist.
    ///
    /// # Errors
    ///
    /// [`ChainError::NotAReplica`] when there is something else and no `volume.meta`, or the system's.
    pub fn list(&self) -> Result<BTreeSet<String>> {
        let entries = match beside::entries(&self.directory) {
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => {
                return Ok(BTreeSet::new());
            }
            entries => entries?,
        };
        let name = |path: &PathBuf| path.file_name().and_then(OsStr::to_str).map(str::to_owned);
        let ours: BTreeSet<_> =
            entries.iter().filter_map(name).filter(|name| is_ours(name)).collect();
        match ours.contains(VolumeMeta::NAME) || entries.iter().all(|path| is_hidden(path)) {
            true => Ok(ours),
            false => Err(ChainError::NotAReplica { directory: self.directory.clone() }.into()),
        }
    }

    /// Which directory it is, on any machine, whatever it is called; zeros for none.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn id(&self) -> Result<[u8; 16]> {
        let metadata = match std::fs::metadata(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok([0; 16]),
            metadata => metadata.map_err(|error| Error::io("stat", &self.directory, error))?,
        };
        let machine =
            std::fs::read(BOOT_ID).map_err(|error| Error::io("read", Path::new(BOOT_ID), error))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&machine);
        hasher.update(&metadata.dev().to_le_bytes()).update(&metadata.ino().to_le_bytes());
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        Ok(id)
    }

    /// Makes the directory if it is not there, durably.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn make(&self) -> Result<()> {
        match std::fs::DirBuilder::new().mode(0o700).create(&self.directory) {
            Ok(()) => beside::sync_directory(&self.directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(Error::io("make the directory", &self.directory, error)),
        }
    }

    /// What is known of the image `name` without reading it; `None` when it is not there.
    ///
    /// # Errors
    ///
    /// What is wrong with the image.
    pub fn look(&self, name: &str, cancel: &Cancel) -> Result<Option<Looked>> {
        if !is_ours(name) || !name.ends_with(IMAGE) {
            return Err(self.not_ours(name));
        }
        let path = self.path(name);
        let options = ImageOptions { links: Links::Refuse, ..ImageOptions::default() };
        let image = match Image::open(&path, &options) {
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => return Ok(None),
            image => image?,
        };
        let is_unfinished = match mark::refuse(&path) {
            Ok(()) => false,
            Err(Error::Unfinished { .. }) => true,
            Err(error) => return Err(error),
        };
        let checksum = match ChecksumFile::fresh(&image) {
            // Whatever was recorded of it, it is half written.
            _ if is_unfinished => None,
            Ok(found) => found.map(|found| (found.method, found.checksum)),
            // It says nothing, then.
            Err(Error::Malformed { .. }) => None,
            Err(error) => return Err(error),
        };
        let in_use = match lease::refuse_writers(&path, cancel) {
            Ok(()) => false,
            Err(Error::OpenForWriting { .. }) => true,
            Err(error) => return Err(error),
        };
        let layout = layout_digest(&image, cancel)?;
        let metadata = image.file().metadata().map_err(|error| Error::io("stat", &path, error))?;
        Ok(Some(Looked {
            size: image.size(),
            layout,
            checksum,
            origin: LayoutOrigin::of(&image)?,
            is_unfinished,
            in_use,
            links: u32::try_from(metadata.nlink()).unwrap_or(u32::MAX),
            change_time: (metadata.ctime(), u32::try_from(metadata.ctime_nsec()).unwrap_or(0)),
        }))
    }

    /// Replaces a small file but `volume.meta`, atomically and durably.
    ///
    /// # Errors
    ///
    /// [`ChainError::NotOurs`] for a name that no replica has, or the system's.
    pub fn put(&self, name: &str, text: &[u8]) -> Result<()> {
        match is_small(name) && name != VolumeMeta::NAME {
            true => self.write(name, text),
            false => Err(self.not_ours(name)),
        }
    }

    pub(super) fn write(&self, name: &str, text: &[u8]) -> Result<()> {
        self.refuse_large(name, text)?;
        let path = self.path(name);
        beside::replace(&path, |out| {
            out.write_all(text).map_err(|error| Error::io("write", &path, error))
        })
    }

    pub(super) fn refuse_large(&self, name: &str, text: &[u8]) -> Result<()> {
        match text.len() as u64 > SMALL {
            true => Err(Error::io("write", &self.path(name), io::ErrorKind::FileTooLarge)),
            false => Ok(()),
        }
    }

    /// Removes a file but `volume.meta`, durably. An image must be nobody's, and its mark
    /// goes with it.
    ///
    /// # Errors
    ///
    /// [`ChainError::NotOurs`] for a name that no replica has, [`Error::Busy`], or the system's.
    pub fn remove(&self, name: &str) -> Result<()> {
        if !is_ours(name) || name == VolumeMeta::NAME {
            return Err(self.not_ours(name));
        }
        let path = self.path(name);
        if !name.ends_with(IMAGE) {
            return beside::remove(&path);
        }
        let options =
            ImageOptions { access: Access::Write, links: Links::Refuse, ..ImageOptions::default() };
        let _locked = match Image::open(&path, &options) {
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => None,
            image => {
                let image = image?;
                image.lock()?;
                Some(image)
            }
        };
        // A mark that outlives its image is nobody's to take away.
        beside::remove(&mark::of(&path))?;
        beside::remove_alone(&path)
    }

    /// A small file.
    ///
    /// # Errors
    ///
    /// [`ChainError::NotOurs`] for a name that no replica has, or the system's.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        if !is_small(name) {
            return Err(self.not_ours(name));
        }
        let path = self.path(name);
        beside::read_limited(&path, SMALL).map_err(|error| Error::io("read", &path, error))
    }

    fn not_ours(&self, name: &str) -> Error {
        ChainError::NotOurs { directory: self.directory.clone(), name: name.to_owned() }.into()
    }
}

/// Whether a replica may have a file of this name, which leads nowhere else.
pub fn is_ours(name: &str) -> bool {
    is_of_layer(name, IMAGE) || is_of_layer(name, ".img.checksum") || is_small(name)
}

fn is_small(name: &str) -> bool {
    is_of_layer(name, ".img.meta") || [VolumeMeta::NAME, "revision.counter"].contains(&name)
}

/// As the engine names the files of its layers.
fn is_of_layer(name: &str, end: &str) -> bool {
    let is_plain = Path::new(name).file_name() == Some(OsStr::new(name));
    is_plain && name.len() <= NAME_MAX && has_layer_name(Path::new(name)) && name.ends_with(end)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// One digest over size and kinds.
fn layout_digest(image: &Image, cancel: &Cancel) -> Result<[u8; 32]> {
    let layout = Layout::new(image, &LayoutOptions::default())?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&image.size().to_le_bytes());
    hasher.update(&[u8::from(layout.origin() == LayoutOrigin::Fiemap)]);
    for extent in rounded(layout, BLOCK) {
        cancel.check()?;
        let extent = extent?;
        let kind = match extent.kind {
            Kind::Hole => 0,
            Kind::Zero => 1,
            Kind::Data => 2,
        };
        hasher.update(&extent.range.end().to_le_bytes()).update(&[kind]);
    }
    Ok(*hasher.finalize().as_bytes())
}
