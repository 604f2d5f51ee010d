//! What a session reads from: one image, or a chain of layers that reads as one.

use std::iter::once;
use std::path::Path;

use crate::error::{Error, Result};
use crate::extent::{BLOCK, Range};
use crate::image::Image;
use crate::layout::{Layout, LayoutOptions};
use crate::locked::LockedImage;
use crate::open::ImageOptions;
use crate::overlay::{Overlay, Owned};
use crate::progress::Cancel;
use crate::stamp::{FileId, SourceStamp};

/// An image, or a chain of which each block is that of the newest layer that has it. All of it is locked,
/// whole, and watched for changes.
pub struct Source {
    tip: LockedImage,
    /// The layers under the tip, the newest first; none for an image.
    below: Vec<LockedImage>,
    size: u64,
    stamp: SourceStamp,
}

impl Source {
    /// Opens and locks the image at `path`; refuses one that an interrupted session left marked.
    ///
    /// # Errors
    ///
    /// Those of [`Image::open`] and [`Image::lock`], and [`Error::Unfinished`].
    pub fn open(path: &Path, options: &ImageOptions) -> Result<Self> {
        Ok(LockedImage::open(path, options)?.into())
    }

    /// As [`open`](Self::open), with a lease: nobody else has the image open for writing, nor at all
    /// when it is opened [alone](crate::Access::Alone), and it is noticed before anybody does.
    pub(crate) fn open_leased(
        path: &Path,
        options: &ImageOptions,
        cancel: &Cancel,
    ) -> Result<Self> {
        Ok(LockedImage::open_leased(path, options, cancel)?.into())
    }

    /// A chain that reads as an image of `size`, which no layer exceeds: `tip`, and what is `below`, the
    /// newest first.
    pub(crate) fn of_chain(tip: LockedImage, below: Vec<LockedImage>, size: u64) -> Self {
        let stamps = once(&tip).chain(&below).map(|layer| *layer.stamp()).collect();
        Self { tip, below, size, stamp: SourceStamp { size, images: stamps } }
    }

    /// The newest layer first; of an image, itself alone.
    pub(crate) fn layers(&self) -> impl DoubleEndedIterator<Item = &LockedImage> {
        once(&self.tip).chain(&self.below)
    }

    /// The layers, for a change of one's own.
    pub(crate) fn oldest_first(&mut self) -> impl Iterator<Item = &mut LockedImage> {
        self.below.iter_mut().rev().chain(once(&mut self.tip))
    }

    /// The image, or the newest layer.
    pub(crate) fn tip(&self) -> &LockedImage {
        &self.tip
    }

    /// The image, where it is one.
    pub fn image(&self) -> Option<&Image> {
        let is_image = self.below.is_empty() && self.size == self.tip.image().size();
        is_image.then_some(self.tip.image())
    }

    /// Whether all of it `can`.
    pub(crate) fn all(&self, can: impl Fn(&Image) -> bool) -> bool {
        self.layers().all(|layer| can(layer.image()))
    }

    /// The name of the image or of the newest layer.
    pub fn path(&self) -> &Path {
        self.tip.image().path()
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Permission bits of the image or of the newest layer.
    pub fn mode(&self) -> u32 {
        self.tip.image().mode()
    }

    /// Whether it is a block device, or reads through one: no time tells when that changed.
    pub fn is_device(&self) -> bool {
        self.layers().any(|layer| layer.image().is_device())
    }

    /// Bytes that are allocated for it, which may be less than the layers of a chain take; the size of a
    /// device.
    pub fn allocated_bytes(&self) -> Result<u64> {
        let mut sum: u64 = 0;
        for layer in self.layers() {
            sum = sum.saturating_add(layer.image().allocated_bytes()?);
        }
        Ok(if self.image().is_some() { sum } else { sum.min(self.size) })
    }

    /// The unit in which the filesystem allocates, in bytes, at least [`BLOCK`].
    pub fn allocation_unit(&self) -> u64 {
        self.layers().map(|layer| layer.image().allocation_unit()).max().unwrap_or(BLOCK)
    }

    /// See [`Image::read_size`].
    pub fn read_size(&self) -> usize {
        self.tip.image().read_size()
    }

    /// Starts to walk the layout.
    ///
    /// # Errors
    ///
    /// Those of [`Layout::new`].
    pub fn layout(&self, options: &LayoutOptions) -> Result<Layout<'_>> {
        match self.image() {
            Some(image) => Layout::new(image, options),
            None => Ok(Layout::of_chain(self, options)),
        }
    }

    /// Whose the blocks of `range` are, all of it without a gap. An image has them all itself, whatever
    /// their kind.
    pub(crate) fn owned(&self, range: Range) -> impl Iterator<Item = Result<Owned<'_>>> {
        let (image, chain) = match self.image() {
            Some(image) => (Some(Ok(Owned::by(image, range))), None),
            None => (None, Some(Overlay::new(self.layers(), range, false))),
        };
        image.into_iter().chain(chain.into_iter().flatten())
    }

    /// Fills `buf` from `offset`; an error where the source ends before.
    ///
    /// # Errors
    ///
    /// Those of [`Image::read_at`].
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        if let Some(image) = self.image() {
            return image.read_at(buf, offset);
        }
        let range = Range::with_length(offset, buf.len() as u64);
        let range = range.filter(|range| range.end() <= self.size).ok_or_else(|| {
            Error::io_at("read", self.path(), offset, std::io::ErrorKind::UnexpectedEof)
        })?;
        for owned in self.owned(range) {
            let owned = owned?;
            owned.read(&mut buf[owned.range.within(range)])?;
        }
        Ok(())
    }

    /// What it was when it was opened.
    pub fn stamp(&self) -> &SourceStamp {
        &self.stamp
    }

    /// Fails when any of it has changed since it was opened.
    ///
    /// # Errors
    ///
    /// [`Error::Changed`].
    pub fn check(&self) -> Result<()> {
        self.layers().try_for_each(LockedImage::check)
    }

    /// As [`check`](Self::check), at most every two seconds: to be called often.
    pub fn watch(&self) -> Result<()> {
        self.layers().try_for_each(LockedImage::watch)
    }

    /// See [`Image::drop_cache`].
    pub fn drop_cache(&self) {
        self.layers().for_each(|layer| layer.image().drop_cache());
    }

    /// Fails when `target` is this image, or a layer of this chain, under whatever name.
    ///
    /// # Errors
    ///
    /// [`Error::SameFile`].
    pub fn refuse_same(&self, target: &Path) -> Result<()> {
        // Whatever else is wrong with the target is said when it is opened.
        let Ok(metadata) = std::fs::metadata(target) else { return Ok(()) };
        let id = FileId::from_metadata(&metadata);
        match self.layers().find(|layer| layer.stamp().id == id) {
            Some(layer) => Err(Error::SameFile {
                source_path: layer.image().path().to_owned(),
                target: target.to_owned(),
            }),
            None => Ok(()),
        }
    }
}

impl From<LockedImage> for Source {
    fn from(image: LockedImage) -> Self {
        let size = image.image().size();
        Self::of_chain(image, vec![], size)
    }
}
