//! The names under which sessions leave something, and what they mean.

use std::ffi::OsStr;
use std::fmt;
use std::fs::DirEntry;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::beside::{self, DATA, DRAFT, PARTIAL, UNFINISHED, shown};
use crate::error::{Error, Result};

/// What a file is that a session left, in the order in which it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LeftoverKind {
    /// A record, a mark or a `.checksum` that did not get its name.
    Draft,
    /// `.NAME.lacuna-draft`: another name of the layer that a squash was to put in the place of NAME.
    Link,
    /// `.NAME.lacuna-partial`: how much of which source the part has.
    Record,
    /// `.NAME.lacuna-data`: what has arrived of a new image.
    Part,
    /// `.NAME.lacuna-unfinished`: the image NAME is half written.
    Mark,
}

impl fmt::Display for LeftoverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Draft => "draft",
            Self::Link => "link",
            Self::Record => "record",
            Self::Part => "part",
            Self::Mark => "mark",
        })
    }
}

/// A file that a session left, or that one is at work on.
#[derive(Clone, Debug)]
pub struct Leftover {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: LeftoverKind,
    /// The image that it belongs to, which need not be there.
    pub image: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// What is allocated for it, nothing for a link; what other files share of that is not given back.
    pub allocated_bytes: u64,
    /// When it was last written.
    pub modified: SystemTime,
    /// Whether a session is at work on it; `None` when this user cannot tell.
    pub in_use: Option<bool>,
    /// Whether it was removed.
    pub removed: bool,
    /// What its session has locked.
    pub(super) guard: PathBuf,
}

impl Leftover {
    /// What `entry` of `directory` is, if it has a name that lacuna gives.
    pub(super) fn of(directory: &Path, entry: &DirEntry) -> io::Result<Option<Self>> {
        let name = entry.file_name();
        let Some((kind, image, is_of_part)) = meaning(&name) else { return Ok(None) };
        let (metadata, image) = (entry.metadata()?, directory.join(image));
        let is_link = kind == LeftoverKind::Link;
        if is_link && metadata.nlink() < 2 {
            return Ok(None);
        }
        Ok(Some(Self {
            path: entry.path(),
            kind,
            size_bytes: metadata.len(),
            // st_blocks counts in units of 512 bytes, whatever the filesystem's block (stat(2)).
            allocated_bytes: if is_link { 0 } else { metadata.blocks().saturating_mul(512) },
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            in_use: None,
            removed: false,
            guard: match kind {
                // The squash has locked the layer, whatever its name.
                LeftoverKind::Link => entry.path(),
                _ if is_of_part => beside::hidden(&image, DATA),
                _ => image.clone(),
            },
            image,
        }))
    }

    /// By the image, then by the lock, then as they may go.
    pub(super) fn order(&self) -> (&Path, &Path, LeftoverKind, &Path) {
        (&self.image, &self.guard, self.kind, &self.path)
    }

    /// Whether it belongs to a new image, which its session writes under the hidden name.
    pub(super) fn is_of_part(&self) -> bool {
        self.guard != self.image && self.kind != LeftoverKind::Link
    }

    /// Whether what it leads to would be gone with it.
    pub(super) fn is_only_name(&self) -> Result<bool> {
        if self.kind != LeftoverKind::Link {
            return Ok(false);
        }
        match std::fs::symlink_metadata(&self.path) {
            Ok(metadata) => Ok(metadata.nlink() < 2),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("stat", &self.path, error)),
        }
    }

    /// Whether it must stay.
    pub(super) fn is_mark(&self) -> bool {
        self.kind == LeftoverKind::Mark
    }
}

/// What a file of this name is, which image it belongs to, and whether that is a new one.
fn meaning(name: &OsStr) -> Option<(LeftoverKind, &OsStr, bool)> {
    if let Some(image) = shown(name, DATA) {
        return Some((LeftoverKind::Part, image, true));
    }
    if let Some(image) = shown(name, PARTIAL) {
        return Some((LeftoverKind::Record, image, true));
    }
    if let Some(image) = shown(name, UNFINISHED) {
        return Some((LeftoverKind::Mark, image, false));
    }
    let replaced = shown(name, DRAFT)?;
    if let Some(image) = shown(replaced, PARTIAL) {
        return Some((LeftoverKind::Draft, image, true));
    }
    match shown(replaced, UNFINISHED).or_else(|| with_checksum(replaced)) {
        Some(image) => Some((LeftoverKind::Draft, image, false)),
        None => Some((LeftoverKind::Link, replaced, false)),
    }
}

/// The image whose `.checksum` file has this name.
fn with_checksum(name: &OsStr) -> Option<&OsStr> {
    let image = name.as_bytes().strip_suffix(b".checksum")?;
    Some(OsStr::from_bytes(image)).filter(|image| !image.is_empty())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{checksum_file, mark, partial};

    fn found(path: &Path) -> Option<(LeftoverKind, &OsStr, bool)> {
        meaning(path.file_name()?)
    }

    #[test]
    fn every_name_that_lacuna_gives_is_known_for_what_it_is() {
        let draft = |path: &Path| beside::hidden(path, DRAFT);
        for image in
            [b"a.img".as_slice(), b".hidden", b"a\xff\n.img", b".a.lacuna-data", b"x.checksum"]
        {
            let image = OsStr::from_bytes(image);
            let path = Path::new("/d").join(image);
            let (record, mark) = (partial::PartialRecord::path(&path), mark::of(&path));
            let checksum = checksum_file::path_of(&path);
            for (name, kind, is_of_part) in [
                (beside::hidden(&path, DATA), LeftoverKind::Part, true),
                (draft(&record), LeftoverKind::Draft, true),
                (record, LeftoverKind::Record, true),
                (draft(&mark), LeftoverKind::Draft, false),
                (mark, LeftoverKind::Mark, false),
                (draft(&checksum), LeftoverKind::Draft, false),
            ] {
                assert_eq!(found(&name), Some((kind, image, is_of_part)), "{}", name.display());
            }
        }
    }

    #[test]
    fn no_other_name_is_taken_for_lacuna_s() {
        for name in [
            "a.img",
            "a.img.checksum",
            "a.img.lacuna-data",
            ".lacuna-data",
            "..lacuna-data",
            "...lacuna-data",
            "....lacuna-partial",
            ".a.img.lacuna-data.bak",
            ".a.img.lacuna-other",
            ".lacuna-draft",
            "..lacuna-draft",
        ] {
            assert_eq!(meaning(OsStr::new(name)), None, "{name}");
        }
    }
}
