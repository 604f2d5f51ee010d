//! What a client asks of a session, in bits.

use super::{ClientHello, malformed, whole};
use crate::codec::Reader;
use crate::error::Error;

/// How a session that writes nothing finds out what would be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dry {
    /// From the layouts alone: how much at most.
    Plan,
    /// By comparing what both have: how much exactly.
    Compare,
}

const VERIFY: u32 = 1;
const DRY: u32 = 1 << 1;
const NO_RESUME: u32 = 1 << 2;
const COMPARE: u32 = 1 << 3;

pub(super) struct Options {
    pub(super) verify: bool,
    pub(super) dry: Option<Dry>,
    pub(super) no_resume: bool,
}

impl Options {
    pub(super) fn of(hello: &ClientHello) -> Self {
        let &ClientHello { verify, dry, no_resume, .. } = hello;
        Self { verify, dry, no_resume }
    }

    pub(super) fn encode(&self) -> u32 {
        let dry = match self.dry {
            None => 0,
            Some(Dry::Plan) => DRY,
            Some(Dry::Compare) => DRY | COMPARE,
        };
        let bit = |set, bit| if set { bit } else { 0 };
        bit(self.verify, VERIFY) | dry | bit(self.no_resume, NO_RESUME)
    }

    /// Of a hello that says nothing of them, none.
    pub(super) fn decode(options: Option<Reader<'_>>) -> Result<Self, Error> {
        let bits = options.map_or(Ok(0), |options| whole(options, Reader::u32))?;
        let dry = match (bits & DRY != 0, bits & COMPARE != 0) {
            (false, false) => None,
            (true, false) => Some(Dry::Plan),
            (true, true) => Some(Dry::Compare),
            (false, true) => return Err(malformed("compares in a session that writes")),
        };
        Ok(Self { verify: bits & VERIFY != 0, dry, no_resume: bits & NO_RESUME != 0 })
    }
}
