//! The record of a new target that is not complete: how much of which source it holds.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::beside;
use crate::error::{Error, Result};
use crate::stamp::{FileId, SourceStamp};

/// The form of the record; another one is void.
const VERSION: u32 = 2;

/// No record is larger, in bytes.
const LIMIT: u64 = 64 << 10;

/// What `.NAME.lacuna-partial` says. It is only written after what it claims is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartialRecord {
    version: u32,
    /// The file that holds what has arrived.
    data: FileId,
    /// The source as it was; the record is void when it is not so any more.
    source: SourceStamp,
    /// Everything before this offset has arrived.
    pub(crate) done_bytes: u64,
}

impl PartialRecord {
    /// A record for `data`, of which all before `done_bytes` is what `source` has.
    pub(crate) fn new(data: FileId, source: SourceStamp, done_bytes: u64) -> Self {
        Self { version: VERSION, data, source, done_bytes }
    }

    /// Whether it speaks of these two files in this state.
    pub(crate) fn is_for(&self, data: FileId, source: &SourceStamp) -> bool {
        self.version == VERSION
            && self.data == data
            && self.source == *source
            && self.done_bytes <= source.size
    }

    /// `.NAME.lacuna-partial`.
    pub(crate) fn path(target: &Path) -> PathBuf {
        beside::hidden(target, beside::PARTIAL)
    }

    /// The record beside `target`; `None` when there is none that can be read.
    pub(crate) fn read(target: &Path) -> Result<Option<Self>> {
        let path = Self::path(target);
        match beside::read_limited(&path, LIMIT) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path, error)),
        }
    }

    /// Replaces the record beside `target`, atomically and durably.
    pub(crate) fn write(&self, target: &Path) -> Result<()> {
        let path = Self::path(target);
        let text = serde_json::to_vec(self)
            .map_err(|error| Error::Malformed { path: path.clone(), reason: error.to_string() })?;
        beside::replace(&path, |out| {
            out.write_all(&text).map_err(|error| Error::io("write", &path, error))
        })
    }

    /// Removes the record beside `target`.
    pub(crate) fn remove(target: &Path) -> Result<()> {
        beside::remove(&Self::path(target))
    }
}
