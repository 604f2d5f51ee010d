//! What a fold must leave as it was: where the parent has no data and the child has nothing.
//!
//! Filesystems allocate and write more than they are asked to, and the parent's own layout is gone
//! once the fold has begun. So it is written down first, in the mark of the parent, where a fold that
//! is repeated finds it.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::lines::{Line, Lines};
use crate::error::{Error, Result};
use crate::extent::{BLOCK, Extent, Kind, Range};
use crate::image::Image;
use crate::layout::{LayoutOptions, Pair, pairs, rounded};
use crate::mark;
use crate::progress::Cancel;
use crate::settle::compared;
use crate::source::Source;
use crate::target::Target;

const WORDS: &str = "A lacuna fold or squash was writing the image beside this file and has not finished. The chain is whole.\n\
    Repeat it: that completes the image. Keep this file until then: what it says is needed for that.\n";

/// The form of the record; another one is not understood.
const VERSION: u32 = 4;

/// The line that says whose record this is.
#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    /// The name of the child, or of the newest of its layers, for people.
    child: String,
    /// The newest layer first; one, unless several are folded at once.
    child_ids: Vec<Identity>,
    parent_id: Identity,
    /// What the child had then; all that the parent has gained since is a hole.
    size: u64,
    /// Whether the child gives up what the parent has.
    freed: bool,
}

/// Which file it is. Device numbers change when a machine starts again, and inode numbers are used
/// again: it goes by inode and time of birth.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    inode: u64,
    /// In nanoseconds since 1970, where the filesystem knows.
    born: Option<u64>,
}

impl Identity {
    fn of(image: &Image) -> Result<Self> {
        let metadata = image.file().metadata();
        let metadata = metadata.map_err(|error| Error::io("stat", image.path(), error))?;
        let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let born = born.and_then(|time| u64::try_from(time.as_nanos()).ok());
        Ok(Self { inode: metadata.ino(), born })
    }
}

fn identities(child: &Source) -> Result<Vec<Identity>> {
    child.layers().map(|layer| Identity::of(layer.image())).collect()
}

/// Whether what the parent has there is written down.
fn is_recorded(pair: &Pair) -> bool {
    pair.left == Kind::Hole && pair.right != Kind::Data
}

/// How long the line for this pair is in a record, in bytes.
pub(super) fn line_bytes(pair: &Pair) -> u64 {
    let digits = |number: u64| u64::from(number.checked_ilog10().unwrap_or(0)) + 1;
    match is_recorded(pair) {
        true => {
            digits(pair.range.start()) + digits(pair.range.len()) + "[,,\"hole\"]\n".len() as u64
        }
        false => 0,
    }
}

/// The space that a record with lines of so many bytes takes, with what comes before them.
pub(super) fn space(lines: u64) -> u64 {
    BLOCK + lines.next_multiple_of(BLOCK)
}

/// The record in the mark of a parent.
#[derive(Clone)]
pub(super) struct Record {
    path: PathBuf,
    size: u64,
    /// Whether the child may have given up what the parent has.
    freed: bool,
}

impl Record {
    /// Takes over the record that an interrupted fold of the same child left, or writes a new one:
    /// from here on the parent is marked.
    ///
    /// # Errors
    ///
    /// [`Error::Unfinished`] when something else was interrupted.
    pub(super) fn begin(
        child: &Source,
        parent: &Target,
        free: bool,
        cancel: &Cancel,
    ) -> Result<Self> {
        let before = Self::check(child, parent)?;
        let record = Self { freed: before.freed || free, ..before.clone() };
        let header = Header::of(child, parent, record.freed)?;
        if !parent.is_marked() {
            let pairs = compared(child, parent.image(), Range::to(record.size))?.1;
            parent.mark(|out| record.write(header, pairs, out, cancel))?;
        } else if record.freed == before.freed && record.is_current(child, cancel)? {
            parent.keep_mark()?;
        } else {
            let pairs = record.compared(child)?;
            parent.mark(|out| record.write(header, pairs, out, cancel))?;
        }
        Ok(record)
    }

    /// Whether the child may have given up what the parent has.
    pub(super) fn freed(&self) -> bool {
        self.freed
    }

    /// Fails when something else than a fold of `child` was interrupted at `parent`.
    pub(super) fn check(child: &Source, parent: &Target) -> Result<Self> {
        let (path, size) = (mark::of(parent.path()), child.size());
        let record = Self { path, size, freed: false };
        if !parent.is_marked() {
            return Ok(record);
        }
        let opened = match record.open() {
            // It is another name of the file that is marked.
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => None,
            opened => opened?,
        };
        match opened {
            Some((header, _)) if header.is_of(child, parent)? => {
                Ok(Self { freed: header.freed, ..record })
            }
            _ => Err(Error::Unfinished { path: parent.path().to_owned(), mark: record.path }),
        }
    }

    /// Whether all that is to stay as it was is still where the child has nothing: a chain is in use
    /// while a fold waits to be repeated.
    fn is_current(&self, child: &Source, cancel: &Cancel) -> Result<bool> {
        if self.reopen()?.0.size != self.size {
            return Ok(false);
        }
        for pair in self.compared(child)? {
            let pair = pair?;
            cancel.check()?;
            if pair.left.is_allocated() && pair.right != Kind::Data {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What the child has, beside what was recorded.
    fn compared<'a>(
        &self,
        child: &'a Source,
    ) -> Result<impl Iterator<Item = Result<Pair>> + use<'a>> {
        let layout = child.layout(&LayoutOptions::default())?;
        Ok(pairs(rounded(layout, BLOCK), self.extents()?))
    }

    fn write(
        &self,
        header: Header,
        pairs: impl Iterator<Item = Result<Pair>>,
        out: &mut dyn Write,
        cancel: &Cancel,
    ) -> Result<()> {
        let failed = |error: io::Error| Error::io("write", &self.path, error);
        let line = |out: &mut dyn Write, line: serde_json::Result<String>| {
            line.map_err(io::Error::from).and_then(|line| writeln!(out, "{line}")).map_err(failed)
        };
        out.write_all(WORDS.as_bytes()).map_err(failed)?;
        line(out, serde_json::to_string(&header))?;
        for pair in pairs {
            let pair = pair?;
            cancel.check()?;
            if is_recorded(&pair) {
                let entry = Line::new(pair.range, pair.right);
                line(out, serde_json::to_string(&entry))?;
            }
        }
        Ok(())
    }

    /// `None` where it is no fold that has left the mark.
    fn open(&self) -> Result<Option<(Header, Lines)>> {
        let mut lines = Lines::open(&self.path)?;
        for (number, expected) in WORDS.lines().enumerate() {
            match lines.next_line() {
                Ok(Some(line)) if line.trim_ascii_end() == expected.as_bytes() => {}
                Ok(_) | Err(Error::Malformed { .. }) if number == 0 => return Ok(None),
                read => drop(read?.ok_or_else(|| lines.malformed("it ends early"))?),
            }
        }
        let header: serde_json::Value =
            lines.parse()?.ok_or_else(|| lines.malformed("it ends early"))?;
        if header.get("version") != Some(&VERSION.into()) {
            return Err(lines.malformed("another version of lacuna wrote it"));
        }
        let header = serde_json::from_value(header);
        let header = header.map_err(|error| lines.malformed(&error.to_string()))?;
        Ok(Some((header, lines)))
    }

    /// The same, of the mark that this fold has made or goes on under.
    fn reopen(&self) -> Result<(Header, Lines)> {
        let reason = "it is no longer the record of this fold".to_owned();
        self.open()?.ok_or_else(|| Error::Malformed { path: self.path.clone(), reason })
    }

    /// The whole of the parent as far as the child goes by now: what was recorded, `Data` where nothing
    /// was, and the hole that it has gained since.
    pub(super) fn extents(&self) -> Result<impl Iterator<Item = Result<Extent>> + use<>> {
        let (header, lines) = self.reopen()?;
        let whole = Range::to(self.size);
        let gained = Extent { range: whole.split_at(header.size).1, kind: Kind::Hole };
        let extents = lines.extents(header.size).chain([Ok(gained)]);
        // The child may have become smaller.
        let within = extents.filter_map(move |extent| match extent {
            Ok(Extent { range, kind }) => {
                let range = whole.intersect(range);
                (!range.is_empty()).then_some(Ok(Extent { range, kind }))
            }
            error => Some(error),
        });
        Ok(rounded(within, BLOCK))
    }
}

impl Header {
    fn of(child: &Source, parent: &Target, freed: bool) -> Result<Self> {
        let name = child.path().file_name().unwrap_or_default();
        Ok(Self {
            version: VERSION,
            child: name.to_string_lossy().into_owned(),
            child_ids: identities(child)?,
            parent_id: Identity::of(parent.image())?,
            size: child.size(),
            freed,
        })
    }

    /// Of these two, whatever they are called by now.
    fn is_of(&self, child: &Source, parent: &Target) -> Result<bool> {
        Ok(self.child_ids == identities(child)? && self.parent_id == Identity::of(parent.image())?)
    }
}
