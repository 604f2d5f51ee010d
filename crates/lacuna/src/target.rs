//! The image that a session writes to, so that a crash at any instant leaves nothing that passes for
//! complete and is not.
//!
//! A **new** target is written as `.NAME.lacuna-data` and gets its name when it is complete and
//! durable. An **existing** one is updated in place; from before the first write until after the
//! last sync, `.NAME.lacuna-unfinished` marks it. `NAME.checksum` goes before the first
//! write to an existing target, and before a new one gets its name.

mod kept;
mod names;
mod open;
mod planned;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::beside;
use crate::checksum_file::ChecksumFile;
use crate::error::{Error, Result};
use crate::extent::Range;
use crate::image::Image;
use crate::mark;
use crate::open::{IoMode, Links};
use crate::partial::PartialRecord;
use crate::reflink;
use crate::stamp::SourceStamp;
pub use names::LONGEST_NAME;
use names::{appear, data_of};
pub use planned::PlannedTarget;

/// The permission bits that a new target gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permissions {
    /// These, less the umask.
    Masked(u32),
    /// These.
    Exact(u32),
}

/// How to open a target.
#[derive(Clone, Copy, Debug)]
pub struct TargetOptions {
    /// Direct or buffered.
    pub io: IoMode,
    /// For a new target; an existing one keeps its own.
    pub permissions: Permissions,
    /// What to do about a name that is a symbolic link.
    pub links: Links,
    /// Go on with what an interrupted session left of a new target; else it is thrown away.
    pub resume: bool,
}

impl Default for TargetOptions {
    fn default() -> Self {
        Self {
            io: IoMode::default(),
            permissions: Permissions::Masked(0o666),
            links: Links::default(),
            resume: true,
        }
    }
}

/// An image opened and locked as a target.
pub struct Target {
    image: Image,
    /// Where it will stand, or stands, links followed.
    path: PathBuf,
    state: State,
    /// Whether this session may have changed anything.
    written: AtomicBool,
}

enum State {
    /// Under its hidden name. `resumed`: an earlier session had begun it.
    New { permissions: Permissions, resumed: bool },
    /// Under its own name; `marking` is held while the mark is made.
    Existing { marking: Mutex<()> },
    /// A device has no place beside it that lasts: it goes without a mark.
    Device,
}

impl Target {
    /// Whether the image stood under its name when it was opened.
    pub fn existed(&self) -> bool {
        !matches!(self.state, State::New { .. })
    }

    /// Whether there is content that an earlier session left: the image existed, or a part of it.
    pub fn has_content(&self) -> bool {
        !matches!(self.state, State::New { resumed: false, .. })
    }

    /// Whether this session changed anything, or may have.
    pub fn is_written(&self) -> bool {
        self.written.load(Ordering::Acquire)
    }

    /// Whether an interrupted session left an existing image marked, or this one has marked it.
    pub fn is_marked(&self) -> bool {
        matches!(self.state, State::Existing { .. }) && mark::refuse(&self.path).is_err()
    }

    /// The image, for reading and mapping; writes go through the target.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Where the image stands or will stand.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Up to which offset a new target already holds what `source` has.
    pub fn resumable(&self, source: &SourceStamp) -> Result<u64> {
        if !matches!(self.state, State::New { resumed: true, .. }) {
            return Ok(0);
        }
        let data = self.image.stamp()?;
        let record = PartialRecord::read(&self.path)?;
        let record = record.filter(|record| {
            record.is_for(data.id, source) && data.size == source.size && !self.image.is_device()
        });
        Ok(record.map_or(0, |record| record.done_bytes))
    }

    /// Makes what was written to a new target durable, and then records that all before
    /// `done_bytes` of it is what `source` has.
    ///
    /// # Errors
    ///
    /// The system's; the record before stays then.
    pub fn checkpoint(&self, source: &SourceStamp, done_bytes: u64) -> Result<()> {
        if self.existed() {
            return Ok(());
        }
        self.image.sync()?;
        PartialRecord::new(self.image.stamp()?.id, source.clone(), done_bytes).write(&self.path)
    }

    /// Voids the record of a new target: to be called before anything is written that the record
    /// does not know of.
    pub fn void_record(&self) -> Result<()> {
        match self.existed() {
            true => Ok(()),
            false => PartialRecord::remove(&self.path),
        }
    }

    /// Gives the image its size, a hole where it grows. A device must be large enough.
    ///
    /// # Errors
    ///
    /// [`Error::TooSmall`] for a device, or the system's.
    pub fn resize(&mut self, size: u64) -> Result<()> {
        self.image.refuse_smaller(size)?;
        if self.image.is_device() || self.image.size() == size {
            return Ok(());
        }
        let (before, was_touched) = (self.image.size(), self.is_written() || self.is_marked());
        self.before_write()?;
        let resized = self.image.truncate(size);
        // A filesystem that cannot hold as much says so before it changes anything.
        if resized.is_err() && !was_touched && size > before && self.image.size() == before {
            self.take_back_mark();
        }
        resized
    }

    /// Nothing was written after all. A mark that stays all the same costs no more than a comparison.
    fn take_back_mark(&self) {
        if matches!(self.state, State::Existing { .. }) {
            let _ = beside::remove(&mark::of(&self.path));
        }
        // Whatever became of the mark, it is made again before anything is written.
        self.written.store(false, Ordering::Release);
    }

    /// See [`Image::write_at`].
    pub fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.before_write()?;
        self.image.write_at(buf, offset)
    }

    /// See [`Image::punch`].
    pub fn punch(&self, range: Range) -> Result<()> {
        self.before_write()?;
        self.image.punch(range)
    }

    /// Makes `range` share the space of the same range of `source`; false where that is refused.
    pub(crate) fn clone_range(&self, source: &Image, range: Range) -> Result<bool> {
        self.before_write()?;
        reflink::clone(source, &self.image, range)
    }

    /// See [`Image::zero_range`].
    pub fn zero_range(&self, range: Range) -> Result<()> {
        self.before_write()?;
        self.image.zero_range(range)
    }

    /// Marks an existing image unfinished and removes the `.checksum`, once, before the first write.
    fn before_write(&self) -> Result<()> {
        self.mark(|out| {
            let written = out.write_all(mark::SYNC.as_bytes());
            written.map_err(|error| Error::io("write", &mark::of(&self.path), error))
        })
    }

    /// The same with a mark of `fill`'s own, which must come before anything else is written.
    pub(crate) fn mark(&self, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        if self.written.load(Ordering::Acquire) {
            return Ok(());
        }
        if let State::Existing { marking } = &self.state {
            let _one_at_a_time = marking.lock().unwrap_or_else(PoisonError::into_inner);
            if !self.written.load(Ordering::Acquire) {
                ChecksumFile::remove(&self.path)?;
                self.make_mark(fill)?;
            }
        }
        self.written.store(true, Ordering::Release);
        Ok(())
    }

    fn make_mark(&self, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        let (mark, had_one) = (mark::of(&self.path), self.is_marked());
        let marked = beside::replace(&mark, fill);
        if marked.is_err() && !had_one {
            // Nothing was written. A mark that stays all the same costs no more than a comparison.
            let _ = beside::remove(&mark);
        }
        marked
    }

    /// Goes on under the mark that is there already.
    pub(crate) fn keep_mark(&self) -> Result<()> {
        ChecksumFile::remove(&self.path)?;
        self.written.store(true, Ordering::Release);
        Ok(())
    }

    /// Makes the image durable and whole: a new one gets its name, an existing one loses its mark.
    ///
    /// # Errors
    ///
    /// The system's; among them `AlreadyExists` when somebody else made a file of this name
    /// meanwhile. The target is as unfinished then as it was before.
    pub fn commit(&self) -> Result<()> {
        self.image.sync()?;
        // Somebody may have moved another file to where this one was.
        self.image.check_name()?;
        match &self.state {
            State::New { permissions, .. } => {
                self.image.set_mode(match permissions {
                    // What the umask left when the file was created, less what was added then.
                    Permissions::Masked(mode) => self.image.mode() & mode,
                    Permissions::Exact(mode) => *mode,
                })?;
                ChecksumFile::remove(&self.path)?;
                appear(&data_of(&self.path), &self.path)?;
                beside::sync_directory(&self.path)?;
                // Of an image that was here before, and is gone: nobody else can mark this one.
                beside::remove(&mark::of(&self.path))?;
                PartialRecord::remove(&self.path)?;
            }
            State::Existing { .. } => {
                beside::remove(&mark::of(&self.path))?;
                // Of a session that was interrupted when the image had just got its name.
                PartialRecord::remove(&self.path)?;
                self.tell_of_leftover();
            }
            State::Device => {}
        }
        Ok(())
    }

    /// A new image that never got its name, because somebody else made one of that name.
    fn tell_of_leftover(&self) {
        let data = data_of(&self.path);
        if data.exists() {
            tracing::warn!(
                "{} is left of an earlier sync: remove it if nothing in it is wanted",
                data.display()
            );
        }
    }
}
