//! What an image holds, as plain means see it.

use std::fmt::Display;
use std::path::Path;

use lacuna_testing::mount::Fs;
use lacuna_testing::pattern::{BLOCK, Kind, kinds_of};

/// Bytes, and the kind of every block.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) kinds: Vec<Kind>,
}

impl Content {
    #[track_caller]
    pub(crate) fn of(path: &Path) -> Self {
        let bytes = std::fs::read(path);
        let bytes = bytes.unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
        Self { bytes, kinds: kinds_of(path) }
    }

    /// The same with the kinds that `fs` can hold: a tmpfs has written zeros for `Zero`.
    pub(crate) fn held_by(mut self, fs: Fs) -> Self {
        if !fs.has_zero() {
            let zeros = self.kinds.iter_mut().filter(|kind| **kind == Kind::Zero);
            zeros.for_each(|kind| *kind = Kind::Data);
        }
        self
    }

    /// Where the first difference is.
    pub(crate) fn difference(&self, expected: &Self) -> Option<String> {
        let (size, wanted) = (self.bytes.len(), expected.bytes.len());
        if size != wanted {
            return Some(format!("the size is {size}, not {wanted}"));
        }
        for (block, (kind, wanted)) in self.kinds.iter().zip(&expected.kinds).enumerate() {
            if kind != wanted {
                return Some(format!("block {block} is {kind:?}, not {wanted:?}"));
            }
        }
        let at = (0..size).find(|&at| self.bytes[at] != expected.bytes[at])?;
        let (block, byte) = (at as u64 / BLOCK, self.bytes[at]);
        let wanted = expected.bytes[at];
        Some(format!("byte {at}, in block {block}, is {byte}, not {wanted}"))
    }

    #[track_caller]
    pub(crate) fn assert_is(&self, expected: &Self, what: impl Display) {
        if let Some(difference) = self.difference(expected) {
            panic!("{what}: {difference}");
        }
    }
}
