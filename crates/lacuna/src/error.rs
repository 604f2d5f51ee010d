//! What can go wrong with an image, and what to do about it.

mod remedy;
mod words;

use std::io;
use std::path::{Path, PathBuf};

use crate::chain::ChainError;
use crate::extent::{Kind, Range};
use crate::layout::LayoutOrigin;

pub use words::{describe, system_words};

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
    /// Another process opened an image while a part of it was being given up, which was held up.
    #[error(
        "{} was opened in another process while bytes {} to {} became a hole, which took long",
        path.display(), range.start(), range.end()
    )]
    OpenedMeanwhile {
        /// The image.
        path: PathBuf,
        /// What was given up.
        range: Range,
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
    #[error("{} is a layer of a snapshot chain, {}", path.display(), layer_evidence(path, evidence))]
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
        /// Whether it is what a fold needs that frees its child as it goes.
        freeing: bool,
    },
    /// An earlier session left the image half-written.
    #[error("{} is unfinished: what was writing it was interrupted", path.display())]
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
    /// A fold has left something out.
    #[error("only {moved} of {planned} bytes of {} were folded", path.display())]
    NotAllMoved {
        /// The child.
        path: PathBuf,
        /// In bytes.
        moved: u64,
        /// In bytes.
        planned: u64,
    },
    /// A file beside the image is not what its name says.
    #[error("{} is malformed: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Something is wrong with a chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
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
}

fn why_no_layout(origin: LayoutOrigin) -> &'static str {
    match origin {
        LayoutOrigin::Device => "it is a block device",
        LayoutOrigin::SeekHole | LayoutOrigin::Fiemap => "its filesystem has no FIEMAP",
    }
}

fn layer_evidence(path: &Path, evidence: &Path) -> String {
    match evidence.extension().is_some_and(|extension| extension == "meta") {
        true => format!("says {}", evidence.display()),
        false if path == evidence => "as its name tells".to_owned(),
        false => format!("as its name tells: {}", evidence.display()),
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
