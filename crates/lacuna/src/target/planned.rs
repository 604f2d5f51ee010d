//! A target that is looked at, to tell what a session would do with it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::fstatvfs;

use super::TargetOptions;
use super::names::{check_name, data_of, refuse_foreign};
use super::open::{check_new, resolved};
use crate::beside::directory_of;
use crate::error::{Error, Result};
use crate::extent::{Extent, Kind, Range};
use crate::filesystem;
use crate::image::{Image, allocation_unit};
use crate::layout::{Layout, LayoutOptions, LayoutOrigin, rounded};
use crate::mark;
use crate::open::{ImageOptions, Links};
use crate::stamp::Stamp;

/// What there is of a target, opened for reading: nothing is written or made.
pub struct PlannedTarget {
    /// The image, or the part of a new one that an interrupted session left.
    image: Option<Image>,
    /// Where it stands or would stand, links followed.
    path: PathBuf,
    exists: bool,
    origin: LayoutOrigin,
    unit: u64,
    /// What it was when it began to be watched.
    stamp: Option<Stamp>,
}

impl PlannedTarget {
    /// Opens what [`Target::open`](super::Target::open) would write to, as far as that is there and would
    /// not be thrown away. A mark does not matter, and nothing is locked.
    ///
    /// # Errors
    ///
    /// What would be wrong with the target, as far as that shows.
    pub fn open(path: &Path, options: &TargetOptions) -> Result<Self> {
        check_name(path)?;
        let &TargetOptions { io, links, .. } = options;
        let Some(real) = resolved(path, links)? else { return Self::open_new(path, options) };
        let image = Image::open(&real, &ImageOptions { io, links, ..ImageOptions::default() })?;
        if image.is_device() || mark::refuse(&real).is_err() {
            image.forget_cache();
        }
        Self::of(image, real, true)
    }

    fn open_new(path: &Path, options: &TargetOptions) -> Result<Self> {
        check_new(path)?;
        let data = data_of(path);
        match std::fs::symlink_metadata(&data) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::nothing(path),
            Err(error) => return Err(Error::io("stat", &data, error)),
        }
        refuse_foreign(&data)?;
        if !options.resume {
            return Self::nothing(path);
        }
        let part = ImageOptions { io: options.io, links: Links::Refuse, ..ImageOptions::default() };
        let image = Image::open(&data, &part)?;
        image.forget_cache();
        Self::of(image, path.to_owned(), false)
    }

    fn of(image: Image, path: PathBuf, exists: bool) -> Result<Self> {
        let (origin, unit) = (LayoutOrigin::of(&image)?, image.allocation_unit());
        Ok(Self { image: Some(image), path, exists, origin, unit, stamp: None })
    }

    fn nothing(path: &Path) -> Result<Self> {
        let directory = directory_of(path);
        let failed = |error| Error::io("stat the filesystem of", directory, error);
        let opened = File::open(directory).map_err(failed)?;
        let space = fstatvfs(&opened).map_err(|errno| failed(errno.into()))?;
        let origin = match filesystem::lacks_fiemap(&opened) {
            true => LayoutOrigin::SeekHole,
            false => LayoutOrigin::Fiemap,
        };
        Ok(Self {
            image: None,
            path: path.to_owned(),
            exists: false,
            origin,
            unit: allocation_unit(space.f_frsize),
            stamp: None,
        })
    }

    /// Locks what is there, shared: see [`Image::lock`].
    ///
    /// # Errors
    ///
    /// Those of [`Image::lock`].
    pub fn lock(&self) -> Result<()> {
        self.image.as_ref().map_or(Ok(()), Image::lock)
    }

    /// Takes note of the state of what is there, before it is compared.
    ///
    /// # Errors
    ///
    /// [`Error::Changed`] when it does not stay as it is.
    pub fn watch(&mut self) -> Result<()> {
        self.stamp = self.image.as_ref().map(Image::settled_stamp).transpose()?;
        Ok(())
    }

    /// Fails when what is there has changed since it is [watched](Self::watch).
    ///
    /// # Errors
    ///
    /// [`Error::Changed`].
    pub fn check(&self) -> Result<()> {
        match (&self.image, &self.stamp) {
            (Some(image), Some(stamp)) => image.check_unchanged(stamp),
            _ => Ok(()),
        }
    }

    /// Where it stands or would stand, links followed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the image is there under its name.
    pub fn exists(&self) -> bool {
        self.exists
    }

    /// What is there: the image, or the part of a new one that an interrupted session left.
    pub fn image(&self) -> Option<&Image> {
        self.image.as_ref()
    }

    /// Whether it is a block device.
    pub fn is_device(&self) -> bool {
        self.origin == LayoutOrigin::Device
    }

    /// Where its layout comes from, and so which kinds it holds.
    pub fn origin(&self) -> LayoutOrigin {
        self.origin
    }

    /// See [`Image::allocation_unit`].
    pub fn allocation_unit(&self) -> u64 {
        self.unit
    }

    /// Its layout in units of allocation, as it will be when it has got another size: in a range past
    /// its end, where there is nothing yet, it has a hole.
    pub fn layout(&self, options: LayoutOptions) -> Result<impl Iterator<Item = Result<Extent>>> {
        let image = self.image.as_ref();
        let found = image.map(|image| Layout::new(image, &options)).transpose()?;
        let size = image.map_or(0, Image::size);
        let gained = options.range.unwrap_or(Range::to(size)).split_at(size).1;
        let gained = Some(gained).filter(|gained| !gained.is_empty());
        let gained = gained.map(|range| Ok(Extent { range, kind: Kind::Hole }));
        Ok(rounded(found.into_iter().flatten().chain(gained), self.unit))
    }

    /// Fills `buf` from `offset`, with zeros past the end.
    ///
    /// # Errors
    ///
    /// The system's, with the offset.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let have = self.image.as_ref().map_or(0, |image| image.size().saturating_sub(offset));
        let (found, rest) =
            buf.split_at_mut(buf.len().min(usize::try_from(have).unwrap_or(usize::MAX)));
        rest.fill(0);
        match &self.image {
            Some(image) if !found.is_empty() => image.read_at(found, offset),
            _ => Ok(()),
        }
    }

    /// What a device has behind `size` bytes; `None` of anything else.
    ///
    /// # Errors
    ///
    /// [`Error::TooSmall`].
    pub fn rest_bytes(&self, size: u64) -> Result<Option<u64>> {
        let Some(image) = self.image.as_ref().filter(|image| image.is_device()) else {
            return Ok(None);
        };
        image.refuse_smaller(size)?;
        Ok(Some(image.size() - size))
    }

    /// Space that is free for it; `None` of a device: the filesystem that its node is on says nothing
    /// of that.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn free_bytes(&self) -> Result<Option<u64>> {
        if self.is_device() {
            return Ok(None);
        }
        let directory = directory_of(&self.path);
        let opened = File::open(directory).map_err(|error| Error::io("open", directory, error))?;
        filesystem::free_bytes(&opened, directory).map(Some)
    }
}
