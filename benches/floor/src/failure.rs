//! Why a subcommand did not do its work.

use std::path::{Path, PathBuf};
use std::{fmt, io};

/// A `std` result whose error is a [`Failure`].
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Why a subcommand did not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line was wrong.
    Usage(String),
    /// A system call on a file failed.
    File { doing: &'static str, path: PathBuf, cause: io::Error },
    /// Something without a path failed: a socket, a process.
    Other { doing: &'static str, cause: io::Error },
}

impl Failure {
    /// The failure of `doing` something with `path`.
    pub(crate) fn file(doing: &'static str, path: &Path, cause: impl Into<io::Error>) -> Self {
        Self::File { doing, path: path.to_owned(), cause: cause.into() }
    }

    /// For `map_err`: the failure of `doing` something that has no path.
    pub(crate) fn other(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Other { doing, cause }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => f.write_str(what),
            Self::File { doing, path, cause } => write!(f, "{doing} {}: {cause}", path.display()),
            Self::Other { doing, cause } => write!(f, "{doing}: {cause}"),
        }
    }
}
