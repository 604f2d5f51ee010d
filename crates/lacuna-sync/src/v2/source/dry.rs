//! The source of a session in which nothing is written.

use lacuna::KindBytes;
use lacuna::copy::CopyPlan;
use lacuna_wire::{Dry, End, Message, Planned};

use super::super::parts::Most;
use super::super::planning::plan_of;
use super::{Agreed, Last, Sending, out_of_place};
use crate::error::Result;

impl Sending<'_> {
    /// All of the session after the hellos.
    pub(in super::super) fn plan(&self, dry: Dry) -> Result<CopyPlan> {
        let agreed = self.begin()?;
        let (kinds, planned) = match dry {
            Dry::Plan => self.tell(agreed)?,
            Dry::Compare => {
                let (kinds, _, Last::Planned(planned)) = self.transfer(agreed)? else {
                    return Err(out_of_place());
                };
                (kinds, planned)
            }
        };
        Ok(plan_of(&planned, dry, self.source.size(), kinds))
    }

    /// Tells the kinds alone.
    fn tell(&self, agreed: Agreed) -> Result<(KindBytes, Planned)> {
        let kinds = self.send_layout(agreed, Most::KINDS)?;
        self.link.say(&Message::End(End::default()))?;
        match self.link.recv()?.open(&self.link.pool)?.message()? {
            Message::Planned(planned) => Ok((kinds, planned)),
            _ => Err(out_of_place()),
        }
    }
}
