//! Which layers become one, and how far an earlier squash of them has come.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, StatxFlags, statx};
use rustix::io::Errno;

use super::super::{ChainError, Files, LayerMeta, RebuildLock, Replica};
use crate::beside;
use crate::error::{Error, Result};
use crate::layer::other_child;
use crate::mark;
use crate::stamp::FileId;

/// Layers that are to become one.
#[derive(Clone, Debug)]
pub enum Span {
    /// Those of a replica directory, as its `.meta` files say.
    Replica {
        /// The directory.
        directory: PathBuf,
        /// The oldest: the name of its file, or of a snapshot.
        old: String,
        /// The newest.
        new: String,
    },
    /// Images that no `.meta` files describe, from the oldest to the newest.
    Files(Vec<PathBuf>),
}

/// The layers of a span as they were found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stack {
    /// From the oldest to the newest: at least two.
    paths: Vec<PathBuf>,
    /// What the newest is to name as its parent; `None` where nothing is described.
    parent: Option<String>,
    /// Whether the newest is the oldest by now.
    is_one: bool,
}

impl Stack {
    pub(super) fn find(span: &Span) -> Result<Self> {
        let stack = match span {
            Span::Replica { directory, old, new } => Self::described(directory, old, new)?,
            Span::Files(paths) => Self::listed(paths)?,
        };
        refuse_long_name(stack.newest())?;
        Ok(stack)
    }

    /// Fails when it is not what it was, now that everything is locked.
    pub(super) fn find_again(&self, span: &Span) -> Result<()> {
        match Self::find(span)? == *self {
            true => Ok(()),
            false => Err(Error::Changed { path: self.newest().to_owned() }),
        }
    }

    fn described(directory: &Path, old: &str, new: &str) -> Result<Self> {
        let replica = Replica::with_leftovers(directory)?;
        replica.refuse_rebuilding()?;
        let (old, new) = match (replica.find(old), replica.find(new)) {
            (Err(missing), Ok(new)) => return Err(without_oldest(&replica, old, new, missing)),
            (old, new) => (old?, new?),
        };
        let (old_path, new_path) = (replica.path(old), replica.path(new));
        let shares = shares_file(&old_path, &new_path)?;
        let parent = &replica.layers()[old].parent;
        let newest_first = replica.chain(new)?;
        let is_orphan = old != new && *parent == replica.layers()[new].parent;
        let (names, is_one) = match newest_first.iter().position(|name| *name == old) {
            Some(at @ 1..) => {
                let names: Vec<_> = newest_first[..=at].iter().rev().copied().collect();
                (names, shares == Some(true))
            }
            None if is_orphan && shares != Some(false) => (orphans(&replica, old, new)?, true),
            _ => return Err(ChainError::NotAbove { old: old_path, new: new_path }.into()),
        };
        let is_complete = !is_one || shares.is_some() || names.len() == 2;
        if !is_complete {
            // Of an interrupted squash, the oldest goes last.
            return Err(ChainError::NotAbove { old: old_path, new: new_path }.into());
        }
        if !is_one {
            // What is written to the one would be written to the other.
            replica.refuse_one_file(replica.layers().keys().map(String::as_str))?;
        }
        refuse_others(&replica, &names)?;
        let paths: Vec<_> = names.iter().map(|name| replica.path(name)).collect();
        // One that says nothing of a parent is no oldest layer.
        paths.iter().try_for_each(|path| LayerMeta::refuse_without_parent(path))?;
        Ok(Self { paths, parent: Some(parent.clone()), is_one })
    }

    fn listed(paths: &[PathBuf]) -> Result<Self> {
        let ([old, .., new], [below @ .., _]) = (paths, paths) else {
            return Err(ChainError::OneLayer.into());
        };
        if below.iter().all(|path| is_missing(path)) && new.is_file() {
            let (old, new) = (old.clone(), new.clone());
            return Err(ChainError::NoOldest { old, new, parent: None }.into());
        }
        let mut places = vec![];
        for path in paths {
            let place = place_of(path)?;
            if places.contains(&place) {
                let (source_path, target) = (path.clone(), path.clone());
                return Err(Error::SameFile { source_path, target });
            }
            places.push(place);
            if LayerMeta::path_of(path).exists() {
                return Err(ChainError::Described { layer: path.clone() }.into());
            }
        }
        for layer in below {
            if let Some(other) = other_child(layer, None)? {
                let other = name_of(&other);
                return Err(ChainError::OtherChild { layer: layer.clone(), other }.into());
            }
        }
        let is_one = shares_file(old, new)? == Some(true);
        Ok(Self { paths: paths.to_vec(), parent: None, is_one })
    }

    pub(super) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    pub(super) fn oldest(&self) -> &Path {
        &self.paths[0]
    }

    pub(super) fn newest(&self) -> &Path {
        &self.paths[self.paths.len() - 1]
    }

    /// All but the oldest, from the oldest to the newest.
    pub(super) fn above(&self) -> impl DoubleEndedIterator<Item = &PathBuf> {
        self.paths[1..].iter()
    }

    /// All but the newest, from the oldest to the newest.
    pub(super) fn below(&self) -> impl DoubleEndedIterator<Item = &PathBuf> {
        self.paths[..self.paths.len() - 1].iter()
    }

    pub(super) fn parent(&self) -> Option<&str> {
        self.parent.as_deref()
    }

    pub(super) fn is_one(&self) -> bool {
        self.is_one
    }

    /// Keeps a copy from beginning to make the directory that of another replica; `None` where nothing is described.
    pub(super) fn keep_copies_out(&self) -> Result<Option<RebuildLock>> {
        let files = self.parent().map(|_| Files::of(beside::directory_of(self.newest())));
        files.map(|files| files.lock(FlockOperation::NonBlockingLockShared)).transpose()
    }

    /// Fails when what is written has another name, by which it would be written too: the oldest, and with `free`
    /// all of them. What a squash that was interrupted has left of a name is none.
    pub(super) fn refuse_linked(&self, free: bool) -> Result<()> {
        let written = if free { &self.paths[..] } else { &self.paths[..1] };
        for layer in written {
            let metadata = std::fs::symlink_metadata(layer);
            let metadata = metadata.map_err(|error| Error::io("open", layer, error))?;
            let is_draft = |name: &PathBuf| {
                name.file_name().is_some_and(|name| beside::shown(name, beside::DRAFT).is_some())
            };
            let drafts = beside::names_of(layer)?.into_iter().filter(is_draft).count() as u64;
            if metadata.is_file() && metadata.nlink() > 1 + drafts {
                return Err(ChainError::Linked { layer: layer.clone() }.into());
            }
        }
        Ok(())
    }

    /// Fails when an interrupted fold or squash into the layer under the oldest needs the layers as they are.
    pub(super) fn refuse_marked_parent(&self) -> Result<()> {
        match self.parent().filter(|parent| !parent.is_empty()) {
            Some(parent) => mark::refuse(&self.oldest().with_file_name(parent)),
            None => Ok(()),
        }
    }

    /// Fails when the oldest cannot take the name of the newest because it is elsewhere.
    pub(super) fn refuse_apart(&self) -> Result<()> {
        let (old, new) = (self.oldest(), self.newest());
        let mounts = [old, beside::directory_of(old), new, beside::directory_of(new)].map(mount_of);
        let mounts: Vec<_> = mounts.into_iter().collect::<Result<_>>()?;
        match mounts.windows(2).all(|pair| pair[0] == pair[1]) {
            true => Ok(()),
            false => Err(ChainError::Apart { old: old.to_owned(), new: new.to_owned() }.into()),
        }
    }
}

/// What to say where `old` is not among the layers: nothing is left of it, its chain is whole, so that a squash
/// of it may have come to its end; or only that it is `missing`.
fn without_oldest(replica: &Replica, old: &str, new: &str, missing: Error) -> Error {
    let names = [old.to_owned(), format!("volume-snap-{old}.img")];
    let is_nowhere = names.iter().all(|name| is_missing(&replica.path(name)));
    let is_whole = |chain: Vec<&str>| chain.iter().all(|name| !is_missing(&replica.path(name)));
    if !is_nowhere || !replica.chain(new).is_ok_and(is_whole) {
        return missing;
    }
    let (old, parent) = (replica.path(old), replica.layers()[new].parent.clone());
    ChainError::NoOldest { old, new: replica.path(new), parent: Some(parent) }.into()
}

fn is_missing(path: &Path) -> bool {
    let found = std::fs::symlink_metadata(path);
    found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// What a squash that was interrupted has left of the layers from `old` on, which are in the chain of `new`
/// no more; and `new`.
fn orphans<'a>(replica: &'a Replica, old: &'a str, new: &'a str) -> Result<Vec<&'a str>> {
    let mut names = vec![old];
    let mut last = old;
    while let Some(child) = replica.children(last).next() {
        // The chain of the newest does not lead here, nor does any cycle: each has one parent.
        names.push(child);
        last = child;
    }
    names.push(new);
    Ok(names)
}

/// Fails when anything else rests on a layer that is to go.
fn refuse_others(replica: &Replica, names: &[&str]) -> Result<()> {
    for pair in names.windows(2) {
        let layer = replica.path(pair[0]);
        if replica.volume().head == pair[0] {
            return Err(ChainError::IsHead { layer }.into());
        }
        if let Some(other) = replica.children(pair[0]).find(|child| *child != pair[1]) {
            return Err(ChainError::OtherChild { layer, other: other.to_owned() }.into());
        }
    }
    Ok(())
}

/// Whether two names lead to one file; `None` where the older one is not there.
fn shares_file(old: &Path, new: &Path) -> Result<Option<bool>> {
    let id = |path: &Path| match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => match found {
            Ok(found) => Ok(Some(FileId::from_metadata(&found))),
            Err(error) => Err(Error::io("open", path, error)),
        },
    };
    let Some(new_id) = id(new)? else {
        return Err(Error::io("open", new, io::ErrorKind::NotFound));
    };
    Ok(id(old)?.map(|old| old == new_id))
}

/// The directory that a name is in, wherever that is mounted, and the name.
fn place_of(path: &Path) -> Result<(FileId, OsString)> {
    let directory = beside::directory_of(path);
    let found = std::fs::metadata(directory);
    let found = found.map_err(|error| Error::io("open", directory, error))?;
    Ok((FileId::from_metadata(&found), path.file_name().unwrap_or_default().to_owned()))
}

/// Which filesystem, and which mount of it: no file has names in two of them.
fn mount_of(path: &Path) -> Result<(u32, u32, u64)> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let found = statx(CWD, path, flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID);
    let found = found.map_err(|errno| Error::io("open", path, errno))?;
    Ok((found.stx_dev_major, found.stx_dev_minor, found.stx_mnt_id))
}

/// Fails when a name leaves no room for what stands beside it while it is replaced.
fn refuse_long_name(path: &Path) -> Result<()> {
    let draft = beside::hidden(&LayerMeta::path_of(path), beside::DRAFT);
    match draft.file_name().is_some_and(|name| name.len() <= 255) {
        true => Ok(()),
        false => Err(Error::io("replace", path, Errno::NAMETOOLONG)),
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
