//! An image that is read from: locked, whole, and watched for changes.

use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLockReadGuard};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::extent::Range;
use crate::failpoint;
use crate::image::Image;
use crate::lease::{self, Lease};
use crate::mark;
use crate::open::ImageOptions;
use crate::progress::Cancel;
use crate::stamp::Stamp;

/// What no punch takes that is not held up: much less than any lease lasts.
const SLOW: Duration = Duration::from_millis(500);

/// How often a source is looked at while it is read.
const WATCH: Duration = Duration::from_secs(2);

/// An image that nobody else opens meanwhile, as far as a lease can see to that.
pub(crate) struct Held<'a> {
    locked: &'a LockedImage,
    _gate: Option<RwLockReadGuard<'a, ()>>,
}

impl Held<'_> {
    /// Fails when the image has changed since it was opened.
    pub(crate) fn check(&self) -> Result<()> {
        self.locked.image.check_unchanged(&self.locked.stamp)
    }

    /// Gives up `range`, for a reason that was found under this.
    pub(crate) fn punch(&self, range: Range) -> Result<()> {
        let image = &self.locked.image;
        failpoint::pass("source.punch")
            .map_err(|error| Error::io_at("punch a hole in", image.path(), range.start(), error))?;
        let refuse = || self.locked.lease.as_ref().map_or(Ok(()), Lease::refuse_writer);
        refuse()?;
        let begun = Instant::now();
        image.punch(range)?;
        // A frozen filesystem holds up the punch, but not whoever opens the image when the lease has
        // lasted for as long as it does.
        match refuse() {
            Err(_) if begun.elapsed() >= SLOW => {
                Err(Error::OpenedMeanwhile { path: image.path().to_owned(), range })
            }
            refused => refused,
        }
    }
}

/// An image opened to be read, with the state it had then.
pub(crate) struct LockedImage {
    image: Image,
    stamp: Stamp,
    looked: Mutex<Instant>,
    lease: Option<Lease>,
}

impl LockedImage {
    /// Opens and locks the image at `path`; refuses one that an interrupted session left marked.
    ///
    /// # Errors
    ///
    /// Those of [`Image::open`] and [`Image::lock`], and [`Error::Unfinished`].
    pub(crate) fn open(path: &Path, options: &ImageOptions) -> Result<Self> {
        let image = Image::open(path, options)?;
        image.lock()?;
        mark::refuse(path)?;
        let stamp = image.settled_stamp()?;
        Ok(Self { image, stamp, looked: Mutex::new(Instant::now()), lease: None })
    }

    /// As [`open`](Self::open), with a lease: nobody else has the image open for writing, nor at all
    /// when it is opened [alone](crate::Access::Alone), and it is noticed before anybody does.
    pub(crate) fn open_leased(
        path: &Path,
        options: &ImageOptions,
        cancel: &Cancel,
    ) -> Result<Self> {
        lease::refuse_writers(path, cancel)?;
        let mut locked = Self::open(path, options)?;
        locked.lease = Lease::take(&locked.image, cancel)?;
        locked.check()?;
        Ok(locked)
    }

    /// Says so where it cannot be seen whether others write to it: a file of another user, or of a filesystem
    /// that lends nothing.
    pub(crate) fn warn_without_lease(&self) {
        if self.lease.is_none() && !self.image.is_device() {
            tracing::warn!(
                "{}: whether others have it open for writing cannot be seen by this user, or on this filesystem",
                self.image.path().display()
            );
        }
    }

    /// The image.
    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// What it was when it was opened.
    pub(crate) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// Fails when the image has changed since it was opened.
    ///
    /// # Errors
    ///
    /// [`Error::Changed`].
    pub(crate) fn check(&self) -> Result<()> {
        self.hold()?.check()
    }

    /// See [`Lease::hold`]; without a lease there is nothing to hold.
    pub(crate) fn hold(&self) -> Result<Held<'_>> {
        let gate = self.lease.as_ref().map(|lease| lease.hold(&self.image)).transpose()?;
        Ok(Held { locked: self, _gate: gate })
    }

    /// Takes the image as it is now for what it was: after a change of one's own.
    pub(crate) fn restamp(&mut self) -> Result<()> {
        self.stamp = self.image.settled_stamp()?;
        Ok(())
    }

    /// Makes the image durable, before what it hides elsewhere is given up.
    pub(crate) fn sync(&self) -> Result<()> {
        failpoint::pass("source.sync")
            .map_err(|error| Error::io("sync", self.image.path(), error))?;
        self.image.sync()
    }

    /// As [`check`](Self::check), the image at most every two seconds: to be called often.
    pub(crate) fn watch(&self) -> Result<()> {
        drop(self.hold()?);
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.elapsed() < WATCH {
            return Ok(());
        }
        *looked = Instant::now();
        self.check()
    }
}
