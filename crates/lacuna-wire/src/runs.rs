//! The kinds of a part of an image.

use crate::codec::{Reader, put_varint};
use crate::error::Error;

/// Runs in one message, at most.
pub const RUNS_MAX: usize = 65536;

/// The blocks of the largest image, 2^63 bytes.
const BLOCKS_MAX: u64 = 1 << 51;

/// What stands behind a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not allocated.
    Hole,
    /// Allocated, never written.
    Zero,
    /// Allocated and written.
    Data,
}

/// Blocks of one kind, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Of all of them.
    pub kind: Kind,
    /// How many, at least one.
    pub blocks: u64,
}

/// The kinds of a part of an image: neighbours differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    first: u64,
    end: u64,
    runs: Vec<Run>,
}

impl Runs {
    /// None yet, from the block `first` on.
    pub fn new(first: u64) -> Self {
        Self { first, end: first, runs: vec![] }
    }

    /// The first block.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The block behind the last.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// All of them, in order.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Adds `run`, joined with the last one if that is of the same kind.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] when there are too many, or they pass the end of any image.
    pub fn push(&mut self, run: Run) -> Result<(), Error> {
        let too_long = Error::TooLong { what: "a list of runs", most: RUNS_MAX };
        let end = self.end.checked_add(run.blocks).filter(|end| *end <= BLOCKS_MAX);
        let end = end.ok_or_else(|| too_long.clone())?;
        let is_full = self.runs.len() == RUNS_MAX;
        match self.runs.last_mut() {
            Some(last) if last.kind == run.kind => {
                last.blocks = last.blocks.saturating_add(run.blocks);
            }
            _ if is_full => return Err(too_long),
            _ => self.runs.push(run),
        }
        self.end = end;
        Ok(())
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.first);
        put_varint(out, self.runs.len() as u64);
        for run in &self.runs {
            let kind = match run.kind {
                Kind::Hole => 0,
                Kind::Zero => 1,
                Kind::Data => 2,
            };
            put_varint(out, run.blocks << 2 | kind);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let (first, count) = (reader.varint()?, reader.varint()?);
        if first > BLOCKS_MAX || count > RUNS_MAX as u64 {
            return Err(reader.malformed("has too many runs"));
        }
        let mut runs = Self::new(first);
        for _ in 0..count {
            let coded = reader.varint()?;
            let kind = match coded & 3 {
                0 => Kind::Hole,
                1 => Kind::Zero,
                2 => Kind::Data,
                _ => return Err(reader.malformed("has a kind that there is not")),
            };
            let (before, run) = (runs.runs.len(), Run { kind, blocks: coded >> 2 });
            runs.push(run).map_err(|_| reader.malformed("has runs past the end of any image"))?;
            if run.blocks == 0 || runs.runs.len() == before {
                return Err(reader.malformed("has runs that are none"));
            }
        }
        Ok(runs)
    }
}
