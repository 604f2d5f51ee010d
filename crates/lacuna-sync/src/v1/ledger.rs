//! What a v1 server knows of the image that it received: which ranges were accounted for, by which
//! content.
//!
//! A client's word counts for nothing at `close`: the original's sends the source's checksum even
//! after it failed. So every range that was written or hashed is kept here with the CRC-64 of what was
//! seen, the last word on a range counting, and only a ledger without gaps makes an image complete.

use lacuna::Range;
use lacuna::digest::Crc64;

use super::contents::{Content, Contents};

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

impl Active {
    fn overlaps(&self, range: Range) -> bool {
        !self.range.intersect(range).is_empty()
    }
}

/// The ranges of one image, and the requests under way.
pub(super) struct Ledger {
    size: u64,
    contents: Contents,
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
            contents: Contents::default(),
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
        self.contents.clear();
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
        self.contents.clear();
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
            if other.overlaps(range) && (writes || other.writes) {
                other.crossed = true;
                crossed = true;
            }
        }
        let ticket = self.requests;
        self.active.push(Active { ticket, range, writes, crossed, spoiled: false });
        ticket
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
    fn fail(&mut self, range: Range) {
        for other in &mut self.active {
            other.spoiled |= other.overlaps(range);
        }
        self.enter(range, Content::Failed);
    }

    /// Enters a failure wherever nothing was entered since the request began.
    fn refuse(&mut self, active: &Active) {
        let since = (self.requests - active.ticket) as u32;
        let now = self.requests as u32;
        let (mut reached, mut older) = (active.range.start(), vec![]);
        for (start, entry) in self.contents.overlapping(active.range) {
            if now.wrapping_sub(entry.entered_at) <= since {
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
        self.contents.enter(range, content, self.requests as u32);
        if self.contents.len() > self.limits.ranges {
            self.overflow();
        }
    }

    /// The ranges that are to be holes.
    pub(super) fn holes(&self) -> impl Iterator<Item = Range> + '_ {
        self.contents.holes()
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
        for (start, entry) in self.contents.iter() {
            if start > reached {
                return missing(reached, start);
            }
            if entry.content == Content::Failed {
                return missing(start, entry.end);
            }
            crc = crc.zip(entry.crc(start)).map(|(crc, next)| crc.then(next));
            reached = entry.end;
        }
        match reached < self.size {
            true => missing(reached, self.size),
            false => Verdict::Complete(crc),
        }
    }

    /// Whether it is time to [`combine`](Self::combine).
    pub(super) fn is_long(&self) -> bool {
        self.contents.len() >= self.limits.combine_from
    }

    /// Combines runs of settled neighbours, and returns the holes that are not kept apart any more:
    /// they must be holes in the image by now.
    pub(super) fn combine(&mut self) -> Vec<Range> {
        let (now, settled_after) = (self.requests as u32, self.limits.settled_after);
        let active = &self.active;
        let forgotten = self.contents.combine(|start, entry| {
            now.wrapping_sub(entry.entered_at) >= settled_after
                && entry.content != Content::Failed
                && !is_busy(active, start, entry.end)
        });
        // Do not try again at every request when there was little to combine.
        self.limits.combine_from = self.limits.combine_from.max(2 * self.contents.len());
        forgotten
    }
}

/// Whether a request for any byte from `start` to `end` is under way. Such a range is never settled:
/// its holes would be mended while data is being written into them.
fn is_busy(active: &[Active], start: u64, end: u64) -> bool {
    active.iter().any(|active| active.range.start() < end && start < active.range.end())
}

fn missing(start: u64, end: u64) -> Verdict {
    Range::new(start, end).map_or(Verdict::Overflowed, Verdict::Missing)
}

#[cfg(test)]
mod tests;
