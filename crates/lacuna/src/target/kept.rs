//! What a session that stops leaves of its target, saved for the next one.

use std::io;
use std::sync::atomic::Ordering;

use super::Target;
use crate::error::{Error, describe};
use crate::extent::{BLOCK, Range};
use crate::stamp::SourceStamp;
use crate::stopped::Kept;

/// What is given up of a new target on a full disk, so that the record of the rest fits.
const ROOM: u64 = 1 << 20;

impl Target {
    /// Saves what can be saved when a session stops because of `cause`: all before `reached` is what
    /// `source` has. Without a source there is nothing worth going on with.
    pub fn keep(&self, cause: &Error, source: Option<&SourceStamp>, reached: u64) -> Kept {
        let path = self.path().to_owned();
        match (self.existed(), self.image().is_device(), self.is_written()) {
            (false, _, _) => self.keep_part(cause, source, reached),
            (true, _, false) => Kept::Nothing,
            (true, true, true) => Kept::HalfWrittenDevice(path),
            (true, false, true) => Kept::HalfWritten(path),
        }
    }

    /// Leaves nothing of a new target that holds nothing, from this session or before.
    pub fn abandon(&self) {
        let is_empty = || self.image.allocated_bytes().is_ok_and(|bytes| bytes == 0);
        // What stays all the same is taken over by the next session.
        if !self.has_content()
            && (!self.is_written() || is_empty())
            && std::fs::remove_file(self.image.path()).is_ok()
        {
            self.written.store(false, Ordering::Release);
        }
    }

    /// What is left of a session that stops and records nothing.
    pub fn left(&self) -> Kept {
        let path = self.path().to_owned();
        match (self.existed(), self.image().is_device(), self.is_written()) {
            (false, _, _) if self.image().path().exists() => {
                Kept::Part { path: self.image().path().to_owned(), done_bytes: 0 }
            }
            (_, _, false) => Kept::Nothing,
            (false, _, true) => Kept::Named(path),
            (true, true, true) => Kept::HalfWrittenDevice(path),
            (true, false, true) => Kept::HalfWritten(path),
        }
    }

    fn keep_part(&self, cause: &Error, source: Option<&SourceStamp>, mut reached: u64) -> Kept {
        if !self.image().path().exists() {
            return Kept::Named(self.path().to_owned());
        }
        if cause.io_kind() == Some(io::ErrorKind::StorageFull) {
            reached = self.make_room(reached);
        }
        // Nothing is to be had of a target that cannot be synced either.
        let is_kept = match source {
            Some(source) => self.checkpoint(source, reached).is_ok(),
            None => self.void_record().is_err(),
        };
        let done_bytes = if source.is_some() && is_kept { reached } else { 0 };
        Kept::Part { path: self.image().path().to_owned(), done_bytes }
    }

    /// The record, too, takes space. The last of what is done makes room for it on a full disk; no
    /// record may speak of that any more.
    fn make_room(&self, reached: u64) -> u64 {
        let kept = reached.saturating_sub(ROOM) & !(BLOCK - 1);
        let rest = Range::to(self.image().size()).split_at(kept).1;
        if self.void_record().is_err() {
            return reached;
        }
        if let Err(error) = self.punch(rest) {
            tracing::debug!(error = describe(&error), "no room made");
        }
        kept
    }
}
