//! What the target says, taken in at all times.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use lacuna_wire::{Message, Wanted};

use super::credit::Credit;
use super::{Ending, Last, Sending};
use crate::error::{Error, Result};

/// Takes in what the target says.
pub(super) struct Listening<'a> {
    pub(super) sending: &'a Sending<'a>,
    pub(super) credit: &'a Credit,
    pub(super) wants: Sender<Vec<Wanted>>,
    /// Whether End is about to be sent: what comes after it does not come before.
    pub(super) has_ended: &'a AtomicBool,
}

impl Listening<'_> {
    pub(super) fn run(self, endings: &Sender<Ending>) -> Result<()> {
        let link = self.sending.link;
        let mut has_settled = false;
        loop {
            match link.recv()?.open(&link.pool)?.message()? {
                Message::Want(wanted) if !wanted.is_empty() => {
                    self.credit.want(wanted.len() as u64)?;
                    // Nobody answers any more when the session is over.
                    self.wants.send(wanted).map_err(|_| Error::Ended)?;
                }
                Message::Checked(checked) => {
                    self.credit.checked(checked.chunks)?;
                    self.sending.progress.advance(checked.done);
                }
                Message::Settle | Message::Done(_) | Message::Planned(_)
                    if !self.has_ended.load(Ordering::Acquire) =>
                {
                    return Err(Error::malformed("a message", "comes before the End"));
                }
                Message::Settle if !has_settled && self.sending.dry.is_none() => {
                    has_settled = true;
                    endings.send(Ending::Settle).map_err(|_| Error::Ended)?;
                }
                Message::Done(done) => return last(endings, Last::Done(done)),
                Message::Planned(planned) => return last(endings, Last::Planned(planned)),
                _ => return Err(out_of_place()),
            }
        }
    }
}

fn last(endings: &Sender<Ending>, last: Last) -> Result<()> {
    endings.send(Ending::Last(last)).map_err(|_| Error::Ended)
}

pub(super) fn out_of_place() -> Error {
    Error::malformed("a message", "does not belong there")
}
