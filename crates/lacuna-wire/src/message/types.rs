//! The types of frames.
#![allow(missing_docs)]

use crate::error::Error;

pub const OFFER: u8 = 0x01;
pub const DIGESTS: u8 = 0x02;
pub const DATA: u8 = 0x03;
pub const BLOCKS: u8 = 0x04;
pub const END: u8 = 0x05;
pub const LAYOUT: u8 = 0x06;
pub const ASK: u8 = 0x07;
pub const ACCEPT: u8 = 0x11;
pub const WANT: u8 = 0x12;
pub const CHECKED: u8 = 0x13;
pub const SETTLE: u8 = 0x14;
pub const DONE: u8 = 0x15;
pub const PLANNED: u8 = 0x16;
pub const ANSWER: u8 = 0x17;
pub const WORKING: u8 = 0x1d;
pub const ALIVE: u8 = 0x1e;
pub const FAILED: u8 = 0x1f;

/// What errors call it.
pub(super) fn name(kind: u8) -> Result<&'static str, Error> {
    Ok(match kind {
        OFFER => "Offer",
        DIGESTS => "Digests",
        DATA => "Data",
        BLOCKS => "Blocks",
        END => "End",
        LAYOUT => "Layout",
        ASK => "Ask",
        ACCEPT => "Accept",
        WANT => "Want",
        CHECKED => "Checked",
        SETTLE => "Settle",
        DONE => "Done",
        PLANNED => "Planned",
        ANSWER => "Answer",
        WORKING => "Working",
        ALIVE => "Alive",
        FAILED => "Failed",
        _ => {
            let reason = "has a type that there is not";
            return Err(Error::Malformed { what: "a frame", reason });
        }
    })
}
