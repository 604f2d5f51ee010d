//! What can go wrong with an image, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::extent::{Kind, Range};
use crate::layout::LayoutOrigin;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation that failed. The display names operation, path and offset; the system's words are
/// the [source](std::error::Error::source), and [`Error::remedy`] says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("cannot {operation} {}", Place { path, offset: *offset })]
    Io {
        /// What was tried, as a verb: `read`, `punch a hole in`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Where in the file, in bytes.
        offset: Option<u64>,
        /// What the system said.
        source: io::Error,
    },
    /// Something that is no image was named as one.
    #[error("{} is {what}, not a regular file or a block device", path.display())]
    NotAnImage {
        /// The name.
        path: PathBuf,
        /// What it is, with its article.
        what: &'static str,
    },
    /// Source and target are one file.
    #[error("{} and {} are the same file", source_path.display(), target.display())]
    SameFile {
        /// The source as named.
        source_path: PathBuf,
        /// The target as named.
        target: PathBuf,
    },
    /// Another process holds a lock.
    #[error("{} is in use by another process", path.display())]
    Busy {
        /// The image.
        path: PathBuf,
    },
    /// The name no longer leads to the file that was opened.
    #[error("{} was replaced while it was being opened", path.display())]
    Replaced {
        /// The image.
        path: PathBuf,
    },
    /// An image changed while it was read.
    #[error("{} changed while it was being read", path.display())]
    Changed {
        /// The image.
        path: PathBuf,
    },
    /// Direct I/O was asked for and is not to be had.
    #[error("direct I/O is not possible on {}: {reason}", path.display())]
    NotDirect {
        /// The image.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Space was to be shared, and cannot be.
    #[error("{} cannot share space with {}", target.display(), source_path.display())]
    NotReflinked {
        /// The source.
        source_path: PathBuf,
        /// The target.
        target: PathBuf,
    },
    /// Another process may change the image at any time.
    #[error("{} is open for writing in another process", path.display())]
    OpenForWriting {
        /// The image.
        path: PathBuf,
    },
    /// Another process may read what is about to be given up.
    #[error("{} is open in another process", path.display())]
    OpenElsewhere {
        /// The image.
        path: PathBuf,
    },
    /// What is allocated of a layer cannot be known.
    #[error("{} does not show what is allocated: {}", path.display(), why_no_layout(*origin))]
    NoLayout {
        /// The image.
        path: PathBuf,
        /// What there is instead of FIEMAP.
        origin: LayoutOrigin,
    },
    /// A layer's filesystem cannot allocate a single block.
    #[error("{} lies on a filesystem that allocates {unit} bytes at a time", path.display())]
    LargeBlocks {
        /// The image.
        path: PathBuf,
        /// Its unit in bytes.
        unit: u64,
    },
    /// A parent is larger than its child.
    #[error(
        "the parent {} has {parent_size} bytes, more than the {child_size} of its child {}",
        parent.display(), child.display()
    )]
    LargerParent {
        /// The parent.
        parent: PathBuf,
        /// In bytes.
        parent_size: u64,
        /// The child.
        child: PathBuf,
        /// In bytes.
        child_size: u64,
    },
    /// The chain says that a layer stands on another parent.
    #[error(
        "{} is not the parent of {}: its .meta file names {}",
        parent.display(), child.display(), recorded.as_deref().unwrap_or("none")
    )]
    NotItsParent {
        /// The layer.
        child: PathBuf,
        /// What was named as its parent.
        parent: PathBuf,
        /// What the chain names, if anything.
        recorded: Option<String>,
    },
    /// Another layer stands on the same parent.
    #[error("{} is the parent of another layer too, says {}", parent.display(), other.display())]
    SharedParent {
        /// The parent.
        parent: PathBuf,
        /// The `.meta` file of the other layer.
        other: PathBuf,
    },
    /// An image is a layer of a chain.
    #[error("{} is a layer of a snapshot chain, says {}", path.display(), evidence.display())]
    IsLayer {
        /// The image.
        path: PathBuf,
        /// The name or the `.meta` file that tells.
        evidence: PathBuf,
    },
    /// What is to be written does not fit.
    #[error("{} needs {needed} more bytes on its filesystem, {free} are free", path.display())]
    NoSpace {
        /// The image.
        path: PathBuf,
        /// In bytes.
        needed: u64,
        /// In bytes.
        free: u64,
    },
    /// An earlier session left the image half-written.
    #[error("{} is unfinished: a session that was writing it was interrupted", path.display())]
    Unfinished {
        /// The image.
        path: PathBuf,
        /// The file that marks it.
        mark: PathBuf,
    },
    /// A symbolic link leads nowhere.
    #[error("{} is a symbolic link to a file that does not exist", path.display())]
    DanglingLink {
        /// The link.
        path: PathBuf,
    },
    /// A target device cannot hold the source.
    #[error("{} has {size} bytes, {needed} are needed", path.display())]
    TooSmall {
        /// The device.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The size of the source in bytes.
        needed: u64,
    },
    /// The filesystem does not keep the kinds that were written.
    #[error("{} has {found} at {range} where {expected} was written", path.display())]
    KindsDiffer {
        /// The target.
        path: PathBuf,
        /// Where.
        range: Range,
        /// The kind that was written.
        expected: Kind,
        /// The kind that its layout shows.
        found: Kind,
    },
    /// A file beside the image is not what its name says.
    #[error("{} is malformed: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// An [`Error::Io`] without an offset.
    pub fn io(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { operation, path: path.to_owned(), offset: None, source: source.into() }
    }

    /// An [`Error::Io`] at `offset`.
    pub fn io_at(
        operation: &'static str,
        path: &Path,
        offset: u64,
        source: impl Into<io::Error>,
    ) -> Self {
        let source = source.into();
        Self::Io { operation, path: path.to_owned(), offset: Some(offset), source }
    }

    /// The kind of the system's error, when there is one behind this.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    /// What the person who reads the error can do.
    pub fn remedy(&self) -> Option<String> {
        let text = match self {
            Self::Io { source, .. } => return io_remedy(source).map(str::to_owned),
            Self::NotAnImage { what, .. } if what.contains("directory") => {
                "name the image file inside it"
            }
            Self::NotAnImage { .. } => "name a regular file or a block device",
            Self::SameFile { .. } => "name two different images",
            Self::Busy { .. } => "wait for the other process to finish, or stop it",
            Self::Replaced { .. } => "run the command again",
            Self::Changed { .. } => {
                "stop what writes to it, or use a snapshot of it, and run again"
            }
            Self::NotDirect { .. } => "use buffered I/O",
            Self::NotReflinked { .. } => "use two files on one XFS or btrfs, or copy",
            Self::NoLayout { .. } => "move the layers to ext4, XFS or btrfs",
            Self::LargeBlocks { .. } => "move the layers to a filesystem with blocks of 4096 bytes",
            Self::LargerParent { .. } => {
                "check which of the two is the child: its parent is never larger"
            }
            Self::NotItsParent { .. } | Self::SharedParent { .. } => {
                "check the chain; if the .meta files are wrong, they can be overridden"
            }
            Self::IsLayer { .. } => {
                "leave it: its zeros hide its parent; if it stands alone, that can be overridden"
            }
            Self::NoSpace { .. } => "free some space",
            Self::OpenForWriting { .. } | Self::OpenElsewhere { .. } => {
                "stop what has it open (fuser -v FILE), and run again"
            }
            Self::Unfinished { mark, .. } => {
                return Some(format!(
                    "repeat what was interrupted, as {} tells; if the image is good all the same, \
                     remove that file",
                    mark.display()
                ));
            }
            Self::DanglingLink { .. } => "name the file itself, or remove the link",
            Self::TooSmall { .. } => "choose a larger device",
            Self::KindsDiffer { .. } => {
                "write to a filesystem that keeps holes and unwritten extents: ext4, XFS or btrfs"
            }
            Self::Malformed { path, .. } => malformed_remedy(path),
            Self::Cancelled => "run the same command again to go on",
        };
        Some(text.to_owned())
    }
}

/// The system's words for an error as Go prints them, which Longhorn's callers match:
/// `no space left on device`.
pub fn system_words(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error ").next().unwrap_or_default();
    let mut letters = words.chars();
    match (letters.next(), letters.clone().next()) {
        // Not an acronym.
        (Some(first), Some('a'..='z')) => first.to_lowercase().chain(letters).collect(),
        _ => words.to_owned(),
    }
}

/// `error` and what caused it, in one line, with the [system's words](system_words).
pub fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        if !line.is_empty() {
            line.push_str(": ");
        }
        match error.downcast_ref::<io::Error>() {
            Some(error) => line.push_str(&system_words(error)),
            None => line.push_str(&error.to_string()),
        }
        next = error.source();
    }
    line
}

fn io_remedy(error: &io::Error) -> Option<&'static str> {
    // Its kind has no stable name.
    if rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::LOOP) {
        return Some("mend or remove the symbolic link");
    }
    Some(match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "check the permissions, or run as a user who has them",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space and run the same command again"
        }
        io::ErrorKind::ReadOnlyFilesystem => "mount the filesystem for writing",
        io::ErrorKind::FileTooLarge => "choose a filesystem that holds files of this size",
        io::ErrorKind::ResourceBusy => "unmount the device, or stop what uses it",
        io::ErrorKind::NotADirectory => "check the path: a part of it is a file",
        io::ErrorKind::InvalidFilename => "choose a shorter name",
        io::ErrorKind::AlreadyExists => {
            "move the file of this name away and run the same command again"
        }
        io::ErrorKind::Unsupported => "choose a filesystem that can do this: ext4, XFS or btrfs",
        _ => return None,
    })
}

fn malformed_remedy(path: &Path) -> &'static str {
    let is = |end: &str| path.as_os_str().as_encoded_bytes().ends_with(end.as_bytes());
    if is(".meta") {
        "restore it from whoever keeps the chain"
    } else if is(".lacuna-unfinished") {
        "keep it, and do not use the image beside it before what it speaks of was repeated"
    } else {
        "remove the file if nothing else explains it"
    }
}

fn why_no_layout(origin: LayoutOrigin) -> &'static str {
    match origin {
        LayoutOrigin::Device => "it is a block device",
        LayoutOrigin::SeekHole | LayoutOrigin::Fiemap => "its filesystem has no FIEMAP",
    }
}

struct Place<'a> {
    path: &'a Path,
    offset: Option<u64>,
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())?;
        match self.offset {
            Some(offset) => write!(f, " at offset {offset}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_words_are_those_of_go() {
        for (number, words) in [
            (2, "no such file or directory"),
            (5, "input/output error"),
            (28, "no space left on device"),
        ] {
            assert_eq!(system_words(&io::Error::from_raw_os_error(number)), words);
        }
        assert_eq!(system_words(&io::Error::other("RFS specific error")), "RFS specific error");
    }
}
