//! Rebuilding a replica directory: one rebuild at a time writes there, and none that another has followed.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::error::ChainError;
use super::files::Files;
use super::meta::VolumeMeta;
use crate::beside;
use crate::error::{Error, Result};
use crate::extent::BLOCK;
use crate::flock::{PATIENCE, flock_within};
use crate::image::allocation_unit;

/// The key of `volume.meta` that a rebuild has its number under, for as long as it goes on.
const KEY: &str = "LacunaRebuild";

/// Which of all rebuilds it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuild(pub u64);

/// Held while something is written for a rebuild: no other one begins until it is dropped.
#[derive(Debug)]
pub struct RebuildLock {
    volume_meta: File,
}

/// The lock goes now, even while a process that is being started has the file open too.
impl Drop for RebuildLock {
    fn drop(&mut self) {
        // What cannot be unlocked goes with the file.
        let _ = flock(&self.volume_meta, FlockOperation::Unlock);
    }
}

impl Rebuild {
    /// One whose number no other has.
    pub fn another() -> Self {
        Self(RandomState::new().hash_one(std::process::id()))
    }

    /// To be called before `image` is written for this, like [`Files::enter`] of its directory.
    ///
    /// # Errors
    ///
    /// Those of that.
    pub fn enter(self, image: &Path) -> Result<RebuildLock> {
        Files::of(beside::directory_of(image)).enter(self)
    }

    fn text(self) -> String {
        format!("{:016x}", self.0)
    }
}

impl Files {
    /// Begins to make the directory a copy of the one that `volume` describes: it says `Rebuilding` from now on,
    /// durably, and refuses what an earlier rebuild still wants to write.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] while another rebuild writes, [`ChainError::NotAReplica`] for a directory of something
    /// else, [`Error::LargeBlocks`], or the system's.
    pub fn begin(&self, volume: &[u8], rebuild: Rebuild) -> Result<()> {
        self.list()?;
        self.refuse_large_blocks()?;
        let path = self.path(VolumeMeta::NAME);
        let text = marked(&path, volume, rebuild)?;
        self.refuse_large(VolumeMeta::NAME, &text)?;
        if beside::create(&path, &text)? {
            return Ok(());
        }
        let _alone = self.lock(FlockOperation::NonBlockingLockExclusive)?;
        self.write(VolumeMeta::NAME, &text)
    }

    /// Where one block of a layer cannot be allocated without others, it hides what these had below.
    fn refuse_large_blocks(&self) -> Result<()> {
        let path = self.directory();
        let space = rustix::fs::statvfs(path)
            .map_err(|errno| Error::io("stat the filesystem of", path, errno))?;
        match allocation_unit(space.f_frsize) {
            BLOCK => Ok(()),
            unit => Err(Error::LargeBlocks { path: path.to_owned(), unit }),
        }
    }

    /// To be called before anything is written for `rebuild`.
    ///
    /// # Errors
    ///
    /// [`ChainError::Overtaken`] when another has begun since, [`Error::Busy`] while one begins, or the system's.
    pub fn enter(&self, rebuild: Rebuild) -> Result<RebuildLock> {
        let lock = self.lock(FlockOperation::NonBlockingLockShared)?;
        self.refuse_other(rebuild)?;
        Ok(lock)
    }

    /// Ends `rebuild`: the directory is complete, and `volume` describes it. Fine when it has ended like that.
    ///
    /// # Errors
    ///
    /// Those of [`Files::enter`].
    pub fn end(&self, volume: &[u8], rebuild: Rebuild) -> Result<()> {
        let _alone = self.lock(FlockOperation::NonBlockingLockExclusive)?;
        if self.read(VolumeMeta::NAME)? == volume {
            return Ok(());
        }
        self.refuse_other(rebuild)?;
        self.write(VolumeMeta::NAME, volume)
    }

    /// Locks the `volume.meta` that is there: who replaces it has it locked alone.
    pub(super) fn lock(&self, operation: FlockOperation) -> Result<RebuildLock> {
        let path = self.path(VolumeMeta::NAME);
        let begun = Instant::now();
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        loop {
            let file = rustix::fs::open(&path, flags, Mode::empty());
            let file = File::from(file.map_err(|errno| Error::io("open", &path, errno))?);
            let left = PATIENCE.saturating_sub(begun.elapsed());
            match flock_within(&file, operation, left) {
                Ok(()) if is_at(&file, &path)? => return Ok(RebuildLock { volume_meta: file }),
                Ok(()) if begun.elapsed() < PATIENCE => {}
                Ok(()) | Err(Errno::WOULDBLOCK) => {
                    return Err(Error::Busy { path: self.directory().to_owned() });
                }
                Err(errno) => return Err(Error::io("lock", &path, errno)),
            }
        }
    }

    fn refuse_other(&self, rebuild: Rebuild) -> Result<()> {
        let text = self.read(VolumeMeta::NAME)?;
        let value: Option<serde_json::Value> = serde_json::from_slice(&text).ok();
        match value.is_some_and(|value| value.get(KEY).is_some_and(|key| *key == rebuild.text())) {
            true => Ok(()),
            false => Err(ChainError::Overtaken { directory: self.directory().to_owned() }.into()),
        }
    }
}

/// Whether `file` is what `path` names by now.
fn is_at(file: &File, path: &Path) -> Result<bool> {
    let failed = |error| Error::io("stat", path, error);
    let (ours, named) = (file.metadata().map_err(failed)?, std::fs::symlink_metadata(path));
    match named {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        named => {
            let named = named.map_err(failed)?;
            Ok((ours.dev(), ours.ino()) == (named.dev(), named.ino()))
        }
    }
}

/// `volume`, but not complete, for as long as `rebuild` goes on.
fn marked(path: &Path, volume: &[u8], rebuild: Rebuild) -> Result<Vec<u8>> {
    let malformed = |reason: String| Error::Malformed { path: path.to_owned(), reason };
    let mut value: serde_json::Value =
        serde_json::from_slice(volume).map_err(|error| malformed(error.to_string()))?;
    let object = value.as_object_mut().ok_or_else(|| malformed("is no object".to_owned()))?;
    // The engine reads any spelling of a key, and believes the last one.
    object.retain(|key, _| !key.eq_ignore_ascii_case("Rebuilding"));
    object.insert("Rebuilding".to_owned(), true.into());
    object.insert(KEY.to_owned(), rebuild.text().into());
    let mut text = serde_json::to_vec(&value).map_err(|error| malformed(error.to_string()))?;
    text.push(b'\n');
    Ok(text)
}
