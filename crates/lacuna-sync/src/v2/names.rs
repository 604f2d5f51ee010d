//! The names that clients give, and where they may lead.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lacuna::Links;
use lacuna::chain::Files;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat2, statat};
use rustix::io::Errno;

use super::link::Alias;
use crate::error::{Refusal, Result};

/// Which images clients can name.
#[derive(Clone, Debug)]
pub enum Images {
    /// Those under a directory, which no name leaves.
    Under(PathBuf),
    /// One, to be written.
    One {
        /// What clients call it.
        name: OsString,
        /// Where it is.
        path: PathBuf,
    },
    /// Any: the client is who runs this, like over ssh.
    Any,
}

/// The same, opened.
pub(super) enum Names {
    Under(OwnedFd),
    One { name: OsString, path: PathBuf },
    Any,
}

/// An image that a client named: what it is called here, for as long as its directory is held open.
pub(super) struct Named {
    /// `/proc/self/fd/N/NAME` under a directory: whatever that is called by now, it is this one.
    pub(super) path: PathBuf,
    /// What to do about a name that is a symbolic link.
    pub(super) links: Links,
    /// What the client calls the directory.
    pub(super) alias: Arc<Alias>,
    _directory: Option<OwnedFd>,
}

impl Names {
    pub(super) fn open(images: &Images) -> Result<Self> {
        let path = match images {
            Images::Under(path) => path,
            Images::One { name, path } => {
                return Ok(Self::One { name: name.clone(), path: path.clone() });
            }
            Images::Any => return Ok(Self::Any),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| lacuna::Error::io("open", path, errno))?;
        Ok(Self::Under(directory))
    }

    /// Finds what a client calls `name`.
    pub(super) fn find(&self, name: &[u8]) -> Result<Named> {
        let name = admissible(name)?;
        match self {
            Self::Under(root) => under(root, name),
            Self::One { name: ours, path } => one(ours, path, name),
            Self::Any => Ok(Named::at(name.to_owned(), Arc::default())),
        }
    }
}

impl Names {
    /// Finds the directory that a client calls `name`, which is made where it is not there and may be.
    pub(super) fn find_directory(&self, name: &[u8], make: bool) -> Result<Named> {
        let name = admissible(name)?;
        let (named, root) = match self {
            Self::Under(root) => (under(root, trimmed(name))?, Some(root)),
            Self::One { name, .. } => return Err(Refusal::OtherImage { name: name.into() }.into()),
            Self::Any => (Named::at(name.to_owned(), Arc::default()), None),
        };
        if make {
            Files::of(&named.path).make()?;
        }
        // Whatever it is called by now, it is this one.
        match root.map(|root| beneath(root, trimmed(name).strip_prefix("/").unwrap_or(name))) {
            None | Some(Err(Errno::NOENT)) => Ok(named),
            Some(Ok(directory)) => Ok(Named::of(directory, trimmed(name))),
            Some(Err(errno)) => Err(lacuna::Error::io("open", name, errno).into()),
        }
    }
}

/// Without slashes at its end.
fn trimmed(name: &Path) -> &Path {
    // Its components have none.
    let components = name.components();
    components.as_path()
}

impl Named {
    /// The directory itself.
    fn of(directory: OwnedFd, shown: &Path) -> Self {
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let alias = Alias { path: format!("{path}/"), shown: format!("{}/", shown.display()) };
        let (path, alias) = (PathBuf::from(path), Arc::new(alias));
        Self { path, links: Links::Refuse, alias, _directory: Some(directory) }
    }

    fn at(path: PathBuf, alias: Arc<Alias>) -> Self {
        Self { path, links: Links::Follow, alias, _directory: None }
    }
}

fn one(ours: &OsStr, path: &Path, name: &Path) -> Result<Named> {
    if name.strip_prefix("/").unwrap_or(name) != Path::new(ours) {
        return Err(Refusal::OtherImage { name: ours.into() }.into());
    }
    let directory = path.parent().unwrap_or(path).to_string_lossy();
    // A single slash is in every path.
    let path_of_directory =
        if directory.len() > 1 { format!("{directory}/") } else { String::new() };
    let alias = Alias { path: path_of_directory, shown: String::new() };
    Ok(Named::at(path.to_owned(), Arc::new(alias)))
}

/// Opens the directory of `name`, which must not leave `root` by any way.
fn under(root: &OwnedFd, name: &Path) -> Result<Named> {
    let outside = || Refusal::Outside { path: name.to_owned() };
    // A path from the root on names the same.
    let relative = name.strip_prefix("/").unwrap_or(name);
    let file = relative.file_name().ok_or_else(outside)?;
    if name.as_os_str().as_bytes().ends_with(b"/") {
        return Err(Refusal::Directory { path: name.to_owned() }.into());
    }
    let parent = match relative.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = beneath(root, parent).map_err(|errno| match errno {
        Errno::LOOP => Refusal::Link { path: first_link(root, parent) }.into(),
        Errno::XDEV => outside().into(),
        errno => crate::Error::from(lacuna::Error::io("open the directory of", name, errno)),
    })?;
    let found = statat(&directory, file, AtFlags::SYMLINK_NOFOLLOW);
    if found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink) {
        return Err(Refusal::Link { path: relative.to_owned() }.into());
    }
    let path = format!("/proc/self/fd/{}/", directory.as_raw_fd());
    let shown = match parent == Path::new(".") {
        true => String::new(),
        false => format!("{}/", parent.display()),
    };
    let file = Path::new(&path).join(file);
    let alias = Arc::new(Alias { path, shown });
    Ok(Named { path: file, links: Links::Refuse, alias, _directory: Some(directory) })
}

/// Opens a directory without leaving `root`, and without following links.
fn beneath(root: &OwnedFd, directory: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(root, directory, flags, Mode::empty(), resolve)
}

/// The first link on the way to `directory`.
fn first_link(root: &OwnedFd, directory: &Path) -> PathBuf {
    let is_link = |path: &&Path| matches!(beneath(root, path), Err(Errno::LOOP));
    directory.ancestors().take_while(is_link).last().unwrap_or(directory).to_owned()
}

/// What a client calls `name`, unless that is reserved.
fn admissible(name: &[u8]) -> Result<&Path> {
    let name = Path::new(OsStr::from_bytes(name));
    match name.file_name().is_some_and(is_reserved) {
        true => Err(Refusal::Reserved { path: name.to_owned() }.into()),
        false => Ok(name),
    }
}

/// Names that stand for something else than an image.
fn is_reserved(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
    name.starts_with(b".") && has(b".lacuna-") || name.ends_with(b".checksum")
}
