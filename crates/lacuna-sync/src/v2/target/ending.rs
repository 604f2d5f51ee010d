//! What is left when all of the image has come: kinds, and the receipt.

use std::sync::PoisonError;

use lacuna::layout::{pairs, rounded};
use lacuna::ordered::in_order;
use lacuna::receipt::Receipt;
use lacuna::settle::mend_once;
use lacuna::{BLOCK, Extent, Layout, LayoutOptions};
use lacuna_wire::{End, Kinds, Message, types};

use super::super::chunks::{Chunks, add_kinds, extents_of};
use super::super::frames::Arrived;
use super::super::parts::{Cut, Most, parts, span};
use super::writing::{Worker, allocated, covering};
use super::{Outcome, Receiving, Sums};
use crate::error::{Error, Result};

impl Receiving<'_> {
    /// Makes everything durable, the kinds those of the source, and the receipt one with that of the
    /// source. Returns what it said at its end.
    pub(super) fn end(&self, sums: &Sums) -> Result<End> {
        self.link.in_call(|| self.target.image().sync())?;
        let mut receipt = sums.receipt;
        if self.options.verify || !self.has_kinds(sums)? {
            self.link.say(&Message::Settle)?;
            let read = self.settle(sums)?;
            self.link.in_call(|| self.target.image().sync())?;
            if !self.has_kinds(sums)? {
                return Err(Error::KindsDiffer { path: self.target.path().to_owned() });
            }
            receipt = if self.options.verify { read } else { receipt };
        }
        let announced = *self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        match receipt.finish(self.size) == announced.receipt {
            true => Ok(announced),
            false => Err(Error::ReceiptsDiffer),
        }
    }

    /// Whether the kinds of the target add up to those of the source.
    fn has_kinds(&self, sums: &Sums) -> Result<bool> {
        std::thread::scope(|scope| {
            // What was synced needs no place in memory any more.
            scope.spawn(|| self.target.image().drop_cache());
            self.adds_up_to(sums)
        })
    }

    fn adds_up_to(&self, sums: &Sums) -> Result<bool> {
        if self.kinds == Kinds::One {
            return Ok(true);
        }
        let mut found = Receipt::default();
        let layout = rounded(Layout::new(self.target.image(), &LayoutOptions::default())?, BLOCK);
        for part in parts(layout, Cut { content_end: 0, count_holes: false, most: Most::READ }) {
            self.cancel.check()?;
            self.link.works();
            for chunk in Chunks::new(&part?.extents, self.size).iter() {
                add_kinds(&mut found, &chunk);
            }
        }
        Ok(found == sums.kinds)
    }

    /// Takes in all kinds once more, mends those of the target, and reads it from the medium when that
    /// was asked for.
    fn settle(&self, sums: &Sums) -> Result<Receipt> {
        let (mut receipt, mut checked) = (Receipt::default(), sums.checked);
        self.covered.store(0, std::sync::atomic::Ordering::Release);
        if self.options.verify {
            self.target.image().forget_cache();
        }
        in_order(
            self.options.threads,
            std::iter::from_fn(|| self.next_frame(&[types::LAYOUT]).transpose()),
            || Worker::new(self),
            |worker, frame: Arrived| {
                let done = frame.open(&self.link.pool).and_then(|payload| {
                    let Message::Layout(runs) = payload.message()? else {
                        return Err(Error::malformed("a message", "does not belong there"));
                    };
                    let extents = extents_of(&runs, self.size)?;
                    self.mend(&extents)?;
                    let mut outcome = covering(&runs);
                    if self.options.verify {
                        outcome.receipt = worker.read_again(&extents)?;
                        outcome.settled = allocated(&extents);
                    }
                    Ok(outcome)
                });
                done.map_err(|error| self.link.fail(error))
            },
            |outcome: Outcome| {
                receipt.merge(outcome.receipt);
                self.link.works();
                let told = self.cover(&outcome).and_then(|()| match self.options.verify {
                    true => self.tell(outcome, &mut checked),
                    false => Ok(()),
                });
                told.map_err(|error| self.link.fail(error))
            },
        )?;
        // When the link has failed, that is the cause.
        self.link.check()?;
        self.covers_all().map(|()| receipt)
    }

    fn mend(&self, extents: &[Extent]) -> Result<()> {
        if self.kinds == Kinds::One {
            return Ok(());
        }
        let options = LayoutOptions { range: Some(span(extents)), flush: false };
        let found = rounded(Layout::new(self.target.image(), &options)?, BLOCK);
        let pairs = pairs(extents.iter().copied().map(Ok), found);
        mend_once(self.target, self.cancel, pairs)?;
        Ok(())
    }
}
