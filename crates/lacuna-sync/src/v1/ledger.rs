//! What a v1 server knows of the image that it received: which ranges were accounted for, by which
//! content.
//!
//! A client's word counts for nothing at `close`: the original's sends the source's checksum even
//! after it failed. So every range that was written or hashed is kept here with the CRC-64 of what was
//! seen, the last word on a range counting, and only a ledger without gaps makes an image complete.

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

#[derive(Clone, Copy, Debug)]
struct Entry {
    end: u64,
    content: Content,
    /// The number of requests when this was entered.
    age: u32,
}

/// A request under way.
struct Active {
    ticket: u64,
    range: Range,
    writes: bool,
    /// Another request for some of its bytes was under way with it, and one of them wrote.
    crossed: bool,
    /// Such a request failed meanwhile: what stands there now, nobody knows.
    spoiled: bool,
}

/// The ranges of one image, and the requests under way.
pub(super) struct Ledger {
    size: u64,
    entries: BTreeMap<u64, Entry>,
    active: Vec<Active>,
    requests: u64,
    limits: Limits,
    /// There were more ranges than are kept: nothing can be said any more.
    overflowed: bool,
    /// The client said that it could not send all.
    given_up: bool,
}

/// How much a ledger keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Ranges kept, at most.
    pub(super) ranges: usize,
    /// From so many on, settled neighbours are combined.
    pub(super) combine_from: usize,
    /// A range is settled when so many requests came after it: no client has more in flight.
    pub(super) settled_after: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { ranges: 1 << 20, combine_from: 1 << 17, settled_after: 1 << 15 }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The range now holds this, or was seen to.
    Done(Content),
    /// Nobody knows what the range holds now.
    Failed,
    /// It was to write and did not change anything.
    Refused,
    /// It was to read and saw nothing to be kept.
    Nothing,
}

/// How an image stands at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All of it was accounted for; the CRC where it is known.
    Complete(Option<Crc64>),
    /// Nothing was heard of this range, or its last request failed.
    Missing(Range),
    /// There were too many ranges to keep count.
    Overflowed,
    /// The client said that not all of it would come.
    GivenUp,
}

impl Ledger {
    pub(super) fn new(size: u64, limits: Limits) -> Self {
        Self {
            size,
            entries: BTreeMap::new(),
            active: vec![],
            requests: 0,
            limits,
            overflowed: false,
            given_up: false,
        }
    }

    /// A new session begins over the same image: what is known comes from the old one, and what is
    /// under way belongs to nobody.
    pub(super) fn restart(&mut self) {
        self.entries.clear();
        self.overflowed = false;
        self.given_up = false;
        for active in &mut self.active {
            active.spoiled = true;
        }
    }

    /// Whether nobody has asked for any range.
    pub(super) fn is_unused(&self) -> bool {
        self.requests == 0
    }

    /// Nothing can be said any more.
    pub(super) fn overflow(&mut self) {
        self.entries.clear();
        self.overflowed = true;
    }

    /// The client will not send all: whatever still comes, the image is not complete.
    pub(super) fn give_up(&mut self) {
        self.given_up = true;
    }

    /// A request for `range` begins; it `writes` or only reads. Until [`finish`](Self::finish), it
    /// counts as failed.
    pub(super) fn begin(&mut self, range: Range, writes: bool) -> u64 {
        self.requests += 1;
        let mut crossed = false;
        for other in &mut self.active {
            let overlaps = !other.range.intersect(range).is_empty();
            if overlaps && (writes || other.writes) {
                other.crossed = true;
                crossed = true;
            }
        }
        let ticket = self.requests;
        self.active.push(Active { ticket, range, writes, crossed, spoiled: false });
        self.requests
    }

    /// The request `ticket` ended.
    pub(super) fn finish(&mut self, ticket: u64, outcome: Outcome) {
        let Some(index) = self.active.iter().position(|active| active.ticket == ticket) else {
            return;
        };
        let active = self.active.swap_remove(index);
        match outcome {
            Outcome::Nothing => {}
            Outcome::Failed => self.fail(active.range),
            // Nothing was changed, so what came later counts.
            Outcome::Refused => self.refuse(&active),
            // A read that was crossed saw neither the old nor the new.
            Outcome::Done(_) if (active.crossed || active.spoiled) && !active.writes => {}
            Outcome::Done(_) if active.spoiled => self.fail(active.range),
            Outcome::Done(_) if active.crossed => self.enter(active.range, Content::Unknown),
            Outcome::Done(content) => self.enter(active.range, content),
        }
    }

    /// Nobody knows what `range` holds, nor what the requests for it that are under way will leave.
    pub(super) fn fail(&mut self, range: Range) {
        for other in &mut self.active {
            other.spoiled |= !other.range.intersect(range).is_empty();
        }
        self.enter(range, Content::Failed);
    }

    /// Enters a failure wherever nothing was entered since the request began.
    fn refuse(&mut self, active: &Active) {
        let since = (self.requests - active.ticket) as u32;
        let now = self.requests as u32;
        let (mut reached, mut older) = (active.range.start(), vec![]);
        for (start, entry) in self.overlapping(active.range) {
            if now.wrapping_sub(entry.age) <= since {
                older.extend(Range::new(reached, start.max(reached)));
                reached = entry.end;
            }
        }
        older.extend(Range::new(reached, active.range.end()));
        for range in older {
            self.enter(range, Content::Failed);
        }
    }

    fn enter(&mut self, range: Range, content: Content) {
        if range.is_empty() || self.overflowed {
            return;
        }
        self.cut(range);
        let age = self.requests as u32;
        self.entries.insert(range.start(), Entry { end: range.end(), content, age });
        if self.entries.len() > self.limits.ranges {
            self.overflow();
        }
    }

    fn overlapping(&self, range: Range) -> Vec<(u64, Entry)> {
        let first = self.entries.range(..=range.start()).next_back();
        let from = first.map_or(range.start(), |(start, _)| *start);
        self.entries
            .range(from..range.end().max(from))
            .filter(|(_, entry)| entry.end > range.start())
            .map(|(start, entry)| (*start, *entry))
            .collect()
    }

    /// Removes what was known of `range`. What is left of an entry at either side keeps its content
    /// where that can be split.
    fn cut(&mut self, range: Range) {
        for (start, entry) in self.overlapping(range) {
            self.entries.remove(&start);
            let content = match entry.content {
                Content::Crc(_) => Content::Unknown,
                content => content,
            };
            if start < range.start() {
                self.entries.insert(start, Entry { end: range.start(), content, ..entry });
            }
            if entry.end > range.end() {
                self.entries.insert(range.end(), Entry { content, ..entry });
            }
        }
    }

    /// The ranges that are to be holes.
    pub(super) fn holes(&self) -> impl Iterator<Item = Range> + '_ {
        self.entries.iter().filter_map(|(start, entry)| match entry.content {
            Content::Hole => Range::new(*start, entry.end),
            _ => None,
        })
    }

    /// How the image stands, once nothing is under way.
    pub(super) fn verdict(&self) -> Verdict {
        if self.given_up {
            return Verdict::GivenUp;
        }
        if self.overflowed {
            return Verdict::Overflowed;
        }
        let mut reached = 0;
        let mut crc = Some(Crc64::default());
        for (start, entry) in &self.entries {
            if *start > reached {
                return missing(reached, *start);
            }
            if entry.content == Content::Failed {
                return missing(*start, entry.end);
            }
            crc = crc.zip(crc_of(*start, entry)).map(|(crc, next)| crc.then(next));
            reached = entry.end;
        }
        match reached < self.size {
            true => missing(reached, self.size),
            false => Verdict::Complete(crc),
        }
    }

    /// Whether it is time to [`combine`](Self::combine).
    pub(super) fn is_long(&self) -> bool {
        self.entries.len() >= self.limits.combine_from
    }

    /// Whether a request for any byte from `start` to `end` is under way. Such a range is never
    /// settled: its holes would be mended while data is being written into them.
    fn is_busy(&self, start: u64, end: u64) -> bool {
        let busy = |active: &Active| active.range.start() < end && start < active.range.end();
        self.active.iter().any(busy)
    }

    /// Combines runs of settled neighbours, and returns the holes that are not kept apart any more:
    /// they must be holes in the image by now.
    ///
    /// A client may punch everything first and write into it later, so a hole is only settled when
    /// something settled follows it.
    pub(super) fn combine(&mut self) -> Vec<Range> {
        let now = self.requests as u32;
        let mut forgotten = vec![];
        let mut kept: BTreeMap<u64, Entry> = BTreeMap::new();
        let mut run: Vec<(u64, Entry)> = vec![];
        for (start, entry) in std::mem::take(&mut self.entries) {
            let settled = now.wrapping_sub(entry.age) >= self.limits.settled_after
                && entry.content != Content::Failed
                && !self.is_busy(start, entry.end);
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
        self.entries = kept;
        // Do not try again at every request when there was little to combine.
        self.limits.combine_from = self.limits.combine_from.max(2 * self.entries.len());
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
        let crc = crc_of(start, &entry);
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

fn crc_of(start: u64, entry: &Entry) -> Option<Crc64> {
    match entry.content {
        Content::Hole => Some(Crc64::zeros(entry.end - start)),
        Content::Crc(crc) => Some(crc),
        Content::Unknown | Content::Failed => None,
    }
}

fn missing(start: u64, end: u64) -> Verdict {
    Range::new(start, end).map_or(Verdict::Overflowed, Verdict::Missing)
}

#[cfg(test)]
mod tests;
