//! The names that clients give, confined to a directory.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::link::Alias;
use crate::error::{Error, Result};

/// The directory under which clients name images.
pub(super) struct Root(OwnedFd);

/// An image that a client named: what it is called here, for as long as its directory is held open.
pub(super) struct Named {
    /// `/proc/self/fd/N/NAME`: whatever the directory is called by now, it is this one.
    pub(super) path: PathBuf,
    /// What the client calls the directory.
    pub(super) alias: Arc<Alias>,
    _directory: OwnedFd,
}

impl Root {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| lacuna::Error::io("open", path, errno))?;
        Ok(Self(directory))
    }

    /// Finds the directory of what a client calls `name`, which must not leave the root by any way.
    pub(super) fn find(&self, name: &[u8]) -> Result<Named> {
        let name = Path::new(OsStr::from_bytes(name));
        let outside = || Error::Outside { path: name.to_owned() };
        // A path from the root on names the same.
        let relative = name.strip_prefix("/").unwrap_or(name);
        let file = relative.file_name().ok_or_else(outside)?;
        if name.as_os_str().as_bytes().ends_with(b"/") {
            return Err(outside());
        }
        if is_reserved(file) {
            return Err(Error::Reserved { path: name.to_owned() });
        }
        let parent = match relative.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let directory = openat2(&self.0, parent, flags, Mode::empty(), resolve);
        let directory = directory.map_err(|errno| match errno {
            rustix::io::Errno::XDEV | rustix::io::Errno::LOOP => outside(),
            errno => lacuna::Error::io("open the directory of", name, errno).into(),
        })?;
        let path = format!("/proc/self/fd/{}/", directory.as_raw_fd());
        let shown = match parent == Path::new(".") {
            true => String::new(),
            false => format!("{}/", parent.display()),
        };
        let file = Path::new(&path).join(file);
        Ok(Named { path: file, alias: Arc::new(Alias { path, shown }), _directory: directory })
    }
}

/// Names that stand for something else than an image.
fn is_reserved(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
    name.starts_with(b".") && has(b".lacuna-") || name.ends_with(b".checksum")
}
