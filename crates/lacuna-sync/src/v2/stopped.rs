//! What is left of a session that does not come to its end.

use std::fmt;

use lacuna::Kept;

use crate::error::Error;

/// A session that did not come to its end: what [`lacuna::Stopped`] is of a copy.
#[derive(Debug)]
pub struct Stopped {
    /// Why.
    pub cause: Box<Error>,
    /// What it left at the target, where that is known.
    pub kept: Kept,
}

/// As its cause.
impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for Stopped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}

impl From<Error> for Stopped {
    fn from(cause: Error) -> Self {
        Self { cause: Box::new(cause), kept: Kept::Nothing }
    }
}

/// Where what a session left is, in words.
pub(super) fn left(kept: &Kept) -> Option<String> {
    Some(match kept {
        Kept::Part { path, .. } => format!("what arrived is kept in {}", path.display()),
        Kept::Named(path) => format!("{} has all of it", path.display()),
        Kept::HalfWritten(path) => format!("{} is marked unfinished", path.display()),
        Kept::HalfWrittenDevice(path) => format!("{} is half old and half new", path.display()),
        _ => return None,
    })
}
