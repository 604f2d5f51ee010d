//! Which file a name leads to, and whether it is still what it was.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Which file a name leads to; for a block device which device, whatever its node is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FileId {
    /// `st_dev`; `st_rdev` of a block device.
    pub device: u64,
    /// `st_ino`; 0 for a block device.
    pub inode: u64,
}

impl FileId {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::from_metadata(&metadata))
    }

    pub(crate) fn from_metadata(metadata: &Metadata) -> Self {
        match metadata.file_type().is_block_device() {
            true => Self { device: metadata.rdev(), inode: 0 },
            false => Self { device: metadata.dev(), inode: metadata.ino() },
        }
    }
}

/// What changes when a file does: compared to see that a source stayed as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// Which file.
    pub id: FileId,
    /// In bytes.
    pub size: u64,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Seconds and nanoseconds.
    pub ctime: (i64, i64),
}

/// What changes when a source does: the stamps of its images, the newest layer first, and how much of them it
/// shows.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SourceStamp {
    /// In bytes.
    pub size: u64,
    /// One, or the layers of a chain.
    pub images: Vec<Stamp>,
}

impl From<Stamp> for SourceStamp {
    fn from(image: Stamp) -> Self {
        Self { size: image.size, images: vec![image] }
    }
}

impl Stamp {
    /// For how long a change could still get the same times: filesystems count in ticks of the
    /// kernel, or in one or two seconds where they store no fractions.
    pub(crate) fn time_to_settle(&self) -> Duration {
        let now = SystemTime::now();
        let settle = |(seconds, nanoseconds): (i64, i64)| {
            let granule = match nanoseconds {
                0 => Duration::from_millis(2050),
                _ => Duration::from_millis(25),
            };
            let seconds = u64::try_from(seconds).unwrap_or(0);
            let changed = Duration::new(seconds, u32::try_from(nanoseconds).unwrap_or(0));
            match now.duration_since(UNIX_EPOCH + changed) {
                Ok(ago) => granule.saturating_sub(ago),
                // In the future, by whatever clock: there is no waiting for that.
                Err(_) => Duration::ZERO,
            }
        };
        settle(self.mtime).max(settle(self.ctime))
    }
}
