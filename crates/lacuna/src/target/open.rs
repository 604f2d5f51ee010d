//! Finding and opening a target, under its name or the hidden one.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::io::Errno;

use super::names::{check_name, data_of, refuse_device_names, refuse_foreign};
use super::{Permissions, State, Target, TargetOptions};
use crate::beside;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::mark;
use crate::open::{Access, ImageOptions, IoMode, Links};
use crate::partial::PartialRecord;

/// How often it is tried again to open what somebody removes or replaces at this very moment.
const TRIES: u32 = 8;

/// The time between two such tries.
const PAUSE: Duration = Duration::from_millis(5);

impl Target {
    /// Opens and locks the image at `path`, or the hidden file that will become it.
    ///
    /// # Errors
    ///
    /// Those of [`Image::open`] and [`Image::lock`]; [`Error::DanglingLink`].
    pub fn open(path: &Path, options: &TargetOptions) -> Result<Self> {
        patiently(|| match resolved(path, options.links)? {
            Some(real) => Self::open_there(path, real, options),
            None => Self::open_new(path, options),
        })
    }

    /// The same of an image that must be there.
    pub(crate) fn open_existing(path: &Path, options: &TargetOptions) -> Result<Self> {
        patiently(|| match resolved(path, options.links)? {
            Some(real) => Self::open_there(path, real, options),
            None => Err(Error::io("open", path, io::ErrorKind::NotFound)),
        })
    }

    fn open_there(path: &Path, real: PathBuf, options: &TargetOptions) -> Result<Self> {
        let image = open_image(&real, options.io, options.links)?;
        check_name(path)?;
        if image.is_device() || mark::refuse(&real).is_err() {
            image.forget_cache();
        }
        let state = match image.is_device() {
            true => State::Device,
            false => State::Existing { marking: Mutex::new(()) },
        };
        Ok(Self { image, path: real, state, written: AtomicBool::new(false) })
    }

    /// Whether `path` can be a target as far as that shows without opening it for writing: for
    /// telling mistakes early.
    ///
    /// # Errors
    ///
    /// What [`open`](Self::open) would fail with.
    pub fn check(path: &Path) -> Result<()> {
        check_name(path)?;
        match std::fs::symlink_metadata(path) {
            Ok(_) => check_existing(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => check_new(path),
            Err(error) => Err(Error::io("open", path, error)),
        }
    }

    /// Whether an interrupted session left something at `path`: a mark, or a part of a new image.
    ///
    /// # Errors
    ///
    /// When that cannot be seen.
    pub fn is_unfinished(path: &Path) -> Result<bool> {
        let left = match std::fs::canonicalize(path) {
            Ok(real) => mark::of(&real),
            Err(error) if error.kind() == io::ErrorKind::NotFound => data_of(path),
            Err(error) => return Err(Error::io("resolve", path, error)),
        };
        match std::fs::symlink_metadata(&left) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("stat", &left, error)),
        }
    }

    /// Whether `path` is a block device.
    pub fn is_device(path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device())
    }

    fn open_new(path: &Path, options: &TargetOptions) -> Result<Self> {
        check_name(path)?;
        refuse_device_names(path)?;
        let data = data_of(path);
        let (Permissions::Masked(mode) | Permissions::Exact(mode)) = options.permissions;
        let create = Some(mode | 0o600);
        let create =
            ImageOptions { access: Access::Write, io: options.io, create, links: Links::Refuse };
        let (image, resumed) = match Image::open(&data, &create) {
            Ok(image) => {
                image.lock()?;
                (image, false)
            }
            Err(error) if error.io_kind() == Some(io::ErrorKind::AlreadyExists) => {
                refuse_foreign(&data)?;
                let mut image = open_image(&data, options.io, Links::Refuse)?;
                image.forget_cache();
                if !options.resume {
                    // Nothing may vouch for what is gone.
                    PartialRecord::remove(path)?;
                    image.truncate(0)?;
                }
                (image, options.resume)
            }
            Err(error) => return Err(error),
        };
        let state = State::New { permissions: options.permissions, resumed };
        Ok(Self { image, path: path.to_owned(), state, written: AtomicBool::new(false) })
    }
}

fn patiently(open: impl Fn() -> Result<Target>) -> Result<Target> {
    for _ in 0..TRIES {
        match open() {
            Err(error) if has_gone(&error) => std::thread::sleep(PAUSE),
            opened => return opened,
        }
    }
    open()
}

/// Whether what was found a moment ago was not there any more when it was opened or locked.
fn has_gone(error: &Error) -> bool {
    matches!(error, Error::Replaced { .. } | Error::Changed { .. })
        || error.io_kind() == Some(io::ErrorKind::NotFound)
}

/// Where the image is that `path` names, if there is one.
pub(super) fn resolved(path: &Path, links: Links) -> Result<Option<PathBuf>> {
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(|error| Error::io("open", path, error))?,
    };
    match std::fs::canonicalize(path) {
        _ if links == Links::Refuse && metadata.is_symlink() => {
            Err(Error::io("open", path, Errno::LOOP))
        }
        _ if links == Links::Refuse => Ok(Some(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::DanglingLink { path: path.to_owned() })
        }
        real => real.map(Some).map_err(|error| Error::io("open", path, error)),
    }
}

fn check_existing(path: &Path) -> Result<()> {
    match Image::open(path, &ImageOptions::default()) {
        Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => {
            Err(Error::DanglingLink { path: path.to_owned() })
        }
        opened => opened.map(drop),
    }
}

pub(super) fn check_new(path: &Path) -> Result<()> {
    refuse_device_names(path)?;
    let directory = beside::directory_of(path);
    let failed = |error| Error::io("create an image in", directory, error);
    match std::fs::metadata(directory).map_err(failed)?.is_dir() {
        true => Ok(()),
        false => Err(failed(Errno::NOTDIR.into())),
    }
}

fn open_image(path: &Path, io: IoMode, links: Links) -> Result<Image> {
    let options = ImageOptions { access: Access::Write, io, create: None, links };
    let image = Image::open(path, &options)?;
    image.lock()?;
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_there_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.img");
        let opened = Target::open_existing(&path, &TargetOptions::default());
        let error = opened.err().expect("nothing is there");
        assert_eq!(error.io_kind(), Some(io::ErrorKind::NotFound), "{error:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        std::fs::write(&path, "").unwrap();
        assert!(Target::open_existing(&path, &TargetOptions::default()).unwrap().existed());
    }
}
