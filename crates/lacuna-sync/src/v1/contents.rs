//! What stands where in an image, as far as is known: ranges that do not overlap, each with the last
//! word on it.

use std::collections::BTreeMap;

use lacuna::Range;
use lacuna::digest::Crc64;

/// What stands in a range, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Punched: zeros.
    Hole,
    /// Bytes with this CRC.
    Crc(Crc64),
    /// Something that was accounted for, but whose CRC is lost: a part of a larger range was
    /// overwritten, or two requests crossed.
    Unknown,
    /// The last request for it failed.
    Failed,
}

/// What is known of a range, which begins at the entry's key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) end: u64,
    pub(super) content: Content,
    /// The number of requests when this was entered.
    pub(super) entered_at: u32,
}

impl Entry {
    /// The CRC of the range from `start` on, where it is known.
    pub(super) fn crc(&self, start: u64) -> Option<Crc64> {
        match self.content {
            Content::Hole => Some(Crc64::zeros(self.end - start)),
            Content::Crc(crc) => Some(crc),
            Content::Unknown | Content::Failed => None,
        }
    }
}

/// The entries of one image, by where they begin.
#[derive(Default)]
pub(super) struct Contents(BTreeMap<u64, Entry>);

impl Contents {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.0.iter().map(|(start, entry)| (*start, entry))
    }

    /// The ranges that are to be holes.
    pub(super) fn holes(&self) -> impl Iterator<Item = Range> + '_ {
        self.iter().filter_map(|(start, entry)| match entry.content {
            Content::Hole => Range::new(start, entry.end),
            _ => None,
        })
    }

    /// Those with any byte of `range`, in order.
    pub(super) fn overlapping(&self, range: Range) -> Vec<(u64, Entry)> {
        let first = self.0.range(..=range.start()).next_back();
        let from = first.map_or(range.start(), |(start, _)| *start);
        self.0
            .range(from..range.end().max(from))
            .filter(|(_, entry)| entry.end > range.start())
            .map(|(start, entry)| (*start, *entry))
            .collect()
    }

    /// `range` holds `content`, whatever was known of it before.
    pub(super) fn enter(&mut self, range: Range, content: Content, entered_at: u32) {
        self.cut(range);
        self.0.insert(range.start(), Entry { end: range.end(), content, entered_at });
    }

    /// Removes what was known of `range`. What is left of an entry at either side keeps its content
    /// where that can be split.
    fn cut(&mut self, range: Range) {
        for (start, entry) in self.overlapping(range) {
            self.0.remove(&start);
            let content = match entry.content {
                Content::Crc(_) => Content::Unknown,
                content => content,
            };
            if start < range.start() {
                self.0.insert(start, Entry { end: range.start(), content, ..entry });
            }
            if entry.end > range.end() {
                self.0.insert(range.end(), Entry { content, ..entry });
            }
        }
    }

    /// Combines runs of settled neighbours, and returns the holes that are not kept apart any more.
    ///
    /// A client may punch everything first and write into it later, so a hole is only settled when
    /// something settled follows it.
    pub(super) fn combine(&mut self, is_settled: impl Fn(u64, &Entry) -> bool) -> Vec<Range> {
        let mut forgotten = vec![];
        let mut kept = BTreeMap::new();
        let mut run: Vec<(u64, Entry)> = vec![];
        for (start, entry) in std::mem::take(&mut self.0) {
            let settled = is_settled(start, &entry);
            let joins = run.last().is_none_or(|(_, last)| last.end == start);
            if !settled || !joins {
                join(&mut run, &mut kept, &mut forgotten);
            }
            match settled {
                true => run.push((start, entry)),
                false => drop(kept.insert(start, entry)),
            }
        }
        join(&mut run, &mut kept, &mut forgotten);
        self.0 = kept;
        forgotten
    }
}

/// Moves `run` to `kept` as one entry, holes at its end apart.
fn join(run: &mut Vec<(u64, Entry)>, kept: &mut BTreeMap<u64, Entry>, forgotten: &mut Vec<Range>) {
    while let Some((start, entry)) = run.pop_if(|(_, entry)| entry.content == Content::Hole) {
        kept.insert(start, entry);
    }
    let Some((first, _)) = run.first().copied() else {
        return;
    };
    let mut joined: Option<(Entry, Option<Crc64>)> = None;
    for (start, entry) in run.drain(..) {
        if entry.content == Content::Hole {
            forgotten.extend(Range::new(start, entry.end));
        }
        let crc = entry.crc(start);
        joined = Some(match joined {
            None => (entry, crc),
            Some((_, before)) => (entry, before.zip(crc).map(|(before, crc)| before.then(crc))),
        });
    }
    if let Some((last, crc)) = joined {
        let content = crc.map_or(Content::Unknown, Content::Crc);
        kept.insert(first, Entry { content, ..last });
    }
}
