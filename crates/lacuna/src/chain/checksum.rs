//! What the `.checksum` file of a layer is worth.

use std::path::Path;

use crate::checksum_file::{CRC64, ChecksumFile};
use crate::error::{Error, Result};
use crate::hash::{self, HashOptions, Verdict};
use crate::image::Image;
use crate::open::{ImageOptions, Links};
use crate::progress::{Cancel, Progress};
use crate::source::Source;

/// What the `.checksum` file of a layer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChecksumState {
    /// There is none.
    None,
    /// It does not hold a checksum.
    Malformed,
    /// It says that the layer was found to be corrupted.
    SilentlyCorrupted,
    /// The layer was changed after it was written.
    Stale,
    /// It speaks of the layer as it is.
    Fresh,
    /// The same, and the content is what it says.
    Right,
    /// The same, and the content is not what it says.
    Wrong,
}

impl ChecksumState {
    /// That of an image, which is not read.
    pub(super) fn of(image: &Image) -> Result<Self> {
        Ok(match ChecksumFile::read(image.path()) {
            Ok(None) => Self::None,
            Err(Error::Malformed { .. }) => Self::Malformed,
            Err(error) => return Err(error),
            Ok(Some(file)) if file.silently_corrupted => Self::SilentlyCorrupted,
            Ok(Some(file)) if file.method != CRC64 => Self::Malformed,
            Ok(Some(file)) if file.is_fresh(&image.stamp()?) => Self::Fresh,
            Ok(Some(_)) => Self::Stale,
        })
    }

    /// That of a layer whose checksum was fresh: its content is read.
    pub(super) fn verified(
        path: &Path,
        options: &HashOptions,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<Self> {
        let image =
            ImageOptions { io: options.io, links: Links::Refuse, ..ImageOptions::default() };
        let source = Source::open(path, &image)?;
        let Some(recorded) = ChecksumFile::read(path)? else {
            return Ok(Self::None);
        };
        Ok(match hash::judge(&source, recorded, options, progress, cancel)? {
            Verdict::Sound(_) => Self::Right,
            Verdict::Corrupt { .. } => Self::Wrong,
            Verdict::Stale { .. } | Verdict::Missing => Self::Stale,
        })
    }
}
