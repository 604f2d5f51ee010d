//! The end of a session that has the image.
//!
//! One thread walks the layout, others read and hash its parts, and what they make of them leaves in
//! order. Meanwhile one takes in what the target says, at all times, and others answer its wants.

mod answers;
mod credit;
mod dry;
mod listening;
mod reading;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvError, channel};

use lacuna::layout::rounded;
use lacuna::ordered::in_order;
use lacuna::receipt::Receipt;
use lacuna::settle::held_as;
use lacuna::{BLOCK, Cancel, Extent, Kind, KindBytes, LayoutOptions, LayoutOrigin};
use lacuna::{Progress, Source};
use lacuna_wire::{Accept, Done, Dry, End, Kinds, Message, Offer, Planned};

use super::chunks::runs_of;
use super::frames::Outgoing;
use super::kinds::origin_of;
use super::link::Link;
use super::parts::{Cut, Most, Part, parts};
use super::session::Synced;
use crate::error::{Error, Result};
use credit::Credit;
use listening::{Listening, out_of_place};
use reading::{Made, Reading};

/// How to send.
#[derive(Clone, Copy, Debug)]
pub struct SourceOptions {
    /// Threads that read and hash; as many again answer what the target lacks.
    pub threads: usize,
    /// The level of zstd.
    pub zstd: Option<u8>,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self { threads: 2, zstd: Some(1) }
    }
}

/// What ends a session, or makes its end wait.
enum Ending {
    Settle,
    Last(Last),
}

/// The last message of a session.
enum Last {
    Done(Done),
    Planned(Planned),
}

/// One session.
pub(super) struct Sending<'a> {
    pub(super) link: &'a Link,
    pub(super) source: &'a Source,
    /// Whether nothing is written, and how it is found out what would be.
    pub(super) dry: Option<Dry>,
    pub(super) options: SourceOptions,
    pub(super) progress: &'a Progress,
    pub(super) cancel: &'a Cancel,
}

/// What the target has said that it can take.
#[derive(Clone, Copy)]
struct Agreed {
    kinds: Kinds,
    content_end: u64,
}

impl Sending<'_> {
    /// All of the session after the hellos.
    pub(super) fn run(&self) -> Result<Synced> {
        let size = self.source.size();
        let agreed = self.begin()?;
        let (kinds, end, Last::Done(done)) = self.transfer(agreed)? else {
            return Err(out_of_place());
        };
        if done.receipt != end.receipt {
            return Err(Error::ReceiptsDiffer);
        }
        Ok(Synced {
            size_bytes: size,
            kinds,
            read_bytes: end.read,
            compared_bytes: done.compared,
            sent_bytes: end.sent,
            written_bytes: done.written,
            rest_bytes: done.rest,
            target_layout_from: origin_of(agreed.kinds),
            receipt: end.receipt,
        })
    }

    /// Says what there is, and hears what the target can take.
    fn begin(&self) -> Result<Agreed> {
        let image = &self.source;
        let (size, mode) = (image.size(), image.mode());
        let allocated = image.allocated_bytes()?.min(size);
        self.link.say(&Message::Offer(Offer { size, allocated, mode }))?;
        self.progress.total_bytes.set(allocated);
        let answer = self.link.recv()?.open(&self.link.pool)?;
        let Message::Accept(accept) = answer.message()? else {
            return Err(Error::malformed("something", "is no Accept"));
        };
        self.progress.total_bytes.set(accept.total);
        Ok(Agreed { kinds: accept.kinds, content_end: content_end(&accept, size)? })
    }

    fn transfer(&self, agreed: Agreed) -> Result<(KindBytes, End, Last)> {
        let (credit, has_ended) = (Credit::default(), AtomicBool::new(false));
        let (wants, to_answer) = channel();
        let (endings, ending) = channel();
        std::thread::scope(|scope| {
            // Gone when this panics: the threads wait for no more wants, and for no more messages.
            let (wants, _guard) = (wants, self.link.guard());
            let listening = Listening {
                sending: self,
                credit: &credit,
                wants: wants.clone(),
                has_ended: &has_ended,
            };
            scope.spawn(move || {
                let _guard = self.link.guard();
                if let Err(error) = listening.run(&endings) {
                    self.link.fail(error);
                }
            });
            let answers = scope
                .spawn(|| self.answer(to_answer, &credit).map_err(|error| self.link.fail(error)));
            let walked = self.walk(agreed, &credit).and_then(|walked| {
                credit.wait_until_checked(self.link)?;
                Ok(walked)
            });
            // Every want came before it was counted: no more is to be answered.
            let _ = wants.send(vec![]);
            let walked = walked.map_err(|error| self.link.fail(error));
            let answered = answers.join().unwrap_or(Err(Error::Ended));
            let ended = walked.and_then(|(kinds, receipt)| {
                answered?;
                let end = self.sum(kinds, receipt);
                has_ended.store(true, Ordering::Release);
                let last = self.finish(agreed, end, &ending)?;
                Ok((kinds, end, last))
            });
            // The thread that listens ends with the session.
            ended.map_err(|error| self.link.fail(error))
        })
    }

    /// What there is to be said when all was sent.
    fn sum(&self, kinds: KindBytes, receipt: Receipt) -> End {
        End {
            receipt: receipt.finish(self.source.size()),
            data: kinds.data_bytes,
            zero: kinds.zero_bytes,
            read: self.progress.read_bytes.get(),
            sent: self.progress.sent_bytes.get(),
        }
    }

    /// Sends all parts in order.
    fn walk(&self, agreed: Agreed, credit: &Credit) -> Result<(KindBytes, Receipt)> {
        let mut kinds = KindBytes::default();
        let extents = self.layout(agreed, &mut kinds)?;
        let (content_end, count_holes) = (agreed.content_end, agreed.kinds == Kinds::One);
        let cut = Cut { content_end, count_holes, most: Most::READ };
        let mut receipt = Receipt::default();
        in_order(
            self.options.threads,
            parts(extents, cut),
            || Reading::new(self),
            |reading, part: Part| reading.make(&part),
            |made: Made| {
                receipt.merge(made.receipt);
                credit.spend(made.digests, self.link)?;
                self.progress.sent_bytes.add(made.frame.body_len as u64);
                self.link.send(made.frame)
            },
        )?;
        Ok((kinds, receipt))
    }

    /// The layout with the kinds that were agreed; what the image has is counted in `kinds`.
    fn layout<'a>(
        &'a self,
        agreed: Agreed,
        kinds: &'a mut KindBytes,
    ) -> Result<impl Iterator<Item = Result<Extent>> + Send + 'a> {
        let held = match agreed.kinds {
            Kinds::Three | Kinds::One => LayoutOrigin::Fiemap,
            Kinds::Two => LayoutOrigin::SeekHole,
        };
        let layout = self.source.layout(&LayoutOptions::default())?;
        let counted = rounded(layout, BLOCK).inspect(|extent| {
            if let Ok(Extent { range, kind }) = extent {
                kinds.add(*kind, range.len());
            }
        });
        let held = move |extent: Extent| Extent { kind: held_as(extent.kind, held), ..extent };
        Ok(counted.map(move |extent| extent.map(held).map_err(Error::Image)))
    }

    /// What is left when all was sent.
    fn finish(&self, agreed: Agreed, end: End, ending: &Receiver<Ending>) -> Result<Last> {
        loop {
            self.source.check()?;
            self.link.say(&Message::End(end))?;
            match ending.recv().map_err(|RecvError| Error::Ended)? {
                Ending::Last(last) => return Ok(last),
                Ending::Settle => drop(self.send_layout(agreed, Most::READ)?),
            }
        }
    }

    /// Sends the kinds of all of the image, and returns what it has of each.
    fn send_layout(&self, agreed: Agreed, most: Most) -> Result<KindBytes> {
        let mut kinds = KindBytes::default();
        let extents = self.layout(agreed, &mut kinds)?;
        for part in
            parts(extents, Cut { content_end: 0, count_holes: agreed.kinds == Kinds::One, most })
        {
            self.cancel.check()?;
            let runs = runs_of(&part?.extents)?;
            self.link.send(Outgoing::new(&Message::Layout(runs))?)?;
        }
        Ok(kinds)
    }
}

/// Behind which chunk the target has nothing.
fn content_end(accept: &Accept, size: u64) -> Result<u64> {
    let end = accept.content_end;
    match end.is_multiple_of(lacuna::receipt::CHUNK) || end >= size {
        true => Ok(end.min(size).next_multiple_of(lacuna::receipt::CHUNK)),
        false => Err(Error::malformed("an Accept", "ends its content within a chunk")),
    }
}

/// Whether the blocks of `extent` are read.
fn is_data(extent: &Extent) -> bool {
    extent.kind == Kind::Data
}
