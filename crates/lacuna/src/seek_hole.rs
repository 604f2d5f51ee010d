//! `SEEK_DATA` and `SEEK_HOLE`: what is left where a filesystem has no FIEMAP.
//!
//! They know two kinds: an unwritten extent counts as a hole (lseek(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::extent::Range;

/// The ranges of a file that hold data, in order.
///
/// Moves the file's offset, which nothing in this crate relies on.
pub struct Walk<'a> {
    fd: BorrowedFd<'a>,
    rest: Range,
}

impl<'a> Walk<'a> {
    /// Walks the data within `range`.
    pub fn new(file: &'a impl AsFd, range: Range) -> Self {
        Self { fd: file.as_fd(), rest: range }
    }

    fn step(&mut self) -> io::Result<Option<Range>> {
        while !self.rest.is_empty() {
            let start = match seek(self.fd, SeekFrom::Data(self.rest.start())) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,
                Err(errno) => return Err(errno.into()),
            };
            let end = match seek(self.fd, SeekFrom::Hole(start)) {
                Ok(end) => end,
                // The file was cut between the two calls.
                Err(Errno::NXIO) => break,
                Err(errno) => return Err(errno.into()),
            };
            if end <= self.rest.start() {
                return Err(io::Error::other("SEEK_HOLE went backwards"));
            }
            let (before, after) = self.rest.split_at(end);
            self.rest = after;
            let data = before.split_at(start).1;
            if !data.is_empty() {
                return Ok(Some(data));
            }
        }
        self.rest = self.rest.split_at(self.rest.end()).1;
        Ok(None)
    }
}

impl Iterator for Walk<'_> {
    type Item = io::Result<Range>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.rest = self.rest.split_at(self.rest.end()).1;
        }
        step.transpose()
    }
}
