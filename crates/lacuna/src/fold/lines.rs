//! The lines of the record of a fold.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::extent::{Extent, Kind, Range};

/// No line is longer, in bytes.
const LINE: u64 = 8 << 10;

/// One range that is to stay as it was, a line each.
#[derive(Serialize, Deserialize)]
pub(super) struct Line(u64, u64, Kind);

impl Line {
    pub(super) fn new(range: Range, kind: Kind) -> Self {
        Self(range.start(), range.len(), kind)
    }
}

/// The lines of a record, one at a time.
pub(super) struct Lines {
    path: PathBuf,
    file: BufReader<File>,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        Ok(Self { path: path.to_owned(), file: BufReader::new(file) })
    }

    pub(super) fn malformed(&self, reason: &str) -> Error {
        Error::Malformed { path: self.path.clone(), reason: reason.to_owned() }
    }

    pub(super) fn next_line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut line = vec![];
        let mut limited = io::Read::take(&mut self.file, LINE);
        let read = limited.read_until(b'\n', &mut line);
        match read.map_err(|error| Error::io("read", &self.path, error))? {
            0 => Ok(None),
            _ if line.ends_with(b"\n") => Ok(Some(line)),
            _ => Err(self.malformed("a line has no end")),
        }
    }

    pub(super) fn parse<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let Some(line) = self.next_line()? else { return Ok(None) };
        let parsed = serde_json::from_slice(&line);
        parsed.map(Some).map_err(|error| self.malformed(&error.to_string()))
    }

    /// The whole of a parent of `size`: what the lines say, and `Data` between them.
    pub(super) fn extents(mut self, size: u64) -> impl Iterator<Item = Result<Extent>> {
        let mut rest = Range::to(size);
        let mut held: Option<Extent> = None;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            if held.is_none() {
                held = match self.extent(rest) {
                    Ok(next) => next,
                    Err(error) => {
                        rest = rest.split_at(rest.end()).1;
                        return Some(Err(error));
                    }
                };
            }
            let next = match held {
                Some(extent) if extent.range.start() == rest.start() => held.take()?,
                held => {
                    let end = held.map_or(rest.end(), |extent| extent.range.start());
                    Extent { range: rest.split_at(end).0, kind: Kind::Data }
                }
            };
            rest = rest.split_at(next.range.end()).1;
            Some(Ok(next))
        })
    }

    /// The next extent, which must lie within `rest`.
    fn extent(&mut self, rest: Range) -> Result<Option<Extent>> {
        let Some(Line(start, length, kind)) = self.parse()? else { return Ok(None) };
        let range = Range::with_length(start, length);
        let range = range.filter(|range| !range.is_empty() && rest.intersect(*range) == *range);
        match range {
            Some(range) => Ok(Some(Extent { range, kind })),
            None => Err(self.malformed("its ranges are not in order")),
        }
    }
}
