//! What is left of an operation that does not come to its end.

use std::fmt;
use std::path::PathBuf;

use crate::error::Error;

/// A copy, fold, prune or session that did not come to its end.
#[derive(Debug)]
pub struct Stopped<E = Error> {
    /// Why.
    pub cause: E,
    /// What it left at the target.
    pub kept: Kept,
}

/// What one that stopped left at its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing of its own: the target is as it was.
    Nothing,
    /// A part of a new target; the same copy goes on behind it.
    Part {
        /// The hidden file.
        path: PathBuf,
        /// How much of the image, from its start, is there for certain.
        done_bytes: u64,
    },
    /// All of it, under its name, which may not outlast a power cut.
    Named(PathBuf),
    /// An existing target, neither old nor new, and marked unfinished; the same copy completes it.
    HalfWritten(PathBuf),
    /// A parent that has a part of its child's ranges, and is marked unfinished. The chain reads as
    /// before; the same fold completes it.
    HalfFolded {
        /// The parent.
        parent: PathBuf,
        /// Whether the child may have given up what the parent has by now.
        freed: bool,
    },
    /// A parent that has lost a part of what its child hides, and is marked unfinished. The chain
    /// reads as before; the same prune completes it.
    HalfPruned(PathBuf),
    /// A squash of which the oldest layer holds all, but which has not taken the place of the others: this
    /// is the newest. The chain reads as before; the same squash completes it.
    HalfSquashed(PathBuf),
    /// A replica directory that says that it is being rebuilt; the same copy completes it.
    HalfRebuilt(PathBuf),
    /// A device, neither old nor new, which nothing marks; the same copy completes it.
    HalfWrittenDevice(PathBuf),
}

impl Kept {
    /// Where it is, as a clause; `None` for nothing.
    pub fn words(&self) -> Option<String> {
        Some(match self {
            Self::Nothing => return None,
            Self::Part { path, .. } => format!("what arrived is kept in {}", path.display()),
            Self::Named(path) => format!("{} has all of it", path.display()),
            Self::HalfWritten(path)
            | Self::HalfFolded { parent: path, .. }
            | Self::HalfPruned(path) => format!("{} is marked unfinished", path.display()),
            Self::HalfSquashed(path) => {
                format!("not all files are gone that {} takes the place of", path.display())
            }
            Self::HalfRebuilt(path) => format!("{} says Rebuilding", path.display()),
            Self::HalfWrittenDevice(path) => format!("{} is half old and half new", path.display()),
        })
    }
}

/// As its cause.
impl<E: fmt::Display> fmt::Display for Stopped<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl<E: std::error::Error> std::error::Error for Stopped<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}

impl From<Error> for Stopped {
    fn from(cause: Error) -> Self {
        Self { cause, kept: Kept::Nothing }
    }
}
