//! What is left of a session that does not come to its end.

use lacuna::Kept;

use crate::error::Error;

/// A session that did not come to its end, and what it left at the target, where that is known.
pub type Stopped = lacuna::Stopped<Box<Error>>;

impl From<Error> for Stopped {
    fn from(cause: Error) -> Self {
        Self { cause: Box::new(cause), kept: Kept::Nothing }
    }
}
