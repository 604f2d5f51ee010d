//! What an interrupted squash has left: is all of it hidden?

use rustix::fs::FlockOperation;

use super::super::ChainError;
use super::span::Stack;
use crate::error::{Error, Result};
use crate::extent::{BLOCK, Kind};
use crate::image::Image;
use crate::layer::check_layout;
use crate::layout::{Layout, LayoutOptions, pairs, rounded};
use crate::locked::LockedImage;
use crate::open::{ImageOptions, Links};
use crate::progress::Cancel;

/// The newest layer, which is the oldest too, and those between that are still there: locked, and nobody
/// writes to them.
pub(super) struct Remains {
    new: LockedImage,
    _between: Vec<LockedImage>,
}

impl Remains {
    /// Opens them, and makes sure that through the newest none of the others shows, whoever made them so.
    pub(super) fn open(stack: &Stack, cancel: &Cancel) -> Result<Self> {
        let options = ImageOptions { links: Links::Refuse, ..ImageOptions::default() };
        let new = LockedImage::open_leased(stack.newest(), &options, cancel)?;
        // Two of these would be in each other's way.
        new.image().lock_at_once(FlockOperation::NonBlockingLockExclusive)?;
        check_layout(new.image())?;
        let mut between = vec![];
        for path in stack.below().skip(1) {
            let layer = match LockedImage::open_leased(path, &options, cancel) {
                Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => continue,
                layer => layer?,
            };
            check_layout(layer.image())?;
            refuse_shown(layer.image(), new.image(), cancel)?;
            between.push(layer);
        }
        Ok(Self { new, _between: between })
    }

    /// Of the newest, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.new.image().size()
    }
}

fn refuse_shown(layer: &Image, new: &Image, cancel: &Cancel) -> Result<()> {
    let extents =
        |image| Ok::<_, Error>(rounded(Layout::new(image, &LayoutOptions::default())?, BLOCK));
    for pair in pairs(extents(layer)?, extents(new)?) {
        let pair = pair?;
        cancel.check()?;
        if pair.left.is_allocated() && pair.right == Kind::Hole {
            let (layer, new) = (layer.path().to_owned(), new.path().to_owned());
            return Err(ChainError::NotHidden { layer, new, range: pair.range }.into());
        }
    }
    Ok(())
}
