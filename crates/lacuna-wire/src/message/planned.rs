//! What a target says at the end of a session in which nothing is written.

use crate::codec::Reader;
use crate::error::Error;

/// In the place of free space: that there is none to speak of.
const UNKNOWN: u64 = u64::MAX;

/// What a session that writes would do, in bytes: exactly, if the two were compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// Read from the source.
    pub read: u64,
    /// Read from the target and compared.
    pub compared: u64,
    /// Written to the target, at most.
    pub written: u64,
    /// Made holes, or zeros.
    pub cleared: u64,
    /// Taken of the target's space, more than now.
    pub needed: u64,
    /// Free for that; not of a device.
    pub free: Option<u64>,
    /// What a device has behind the size of the source.
    pub rest: u64,
    /// Whether the target is there under its name.
    pub exists: bool,
}

impl Planned {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let Self { read, compared, written, cleared, needed, free, rest, exists } = *self;
        let free = free.unwrap_or(UNKNOWN);
        let numbers = [read, compared, written, cleared, needed, free, rest];
        out.extend(numbers.map(u64::to_le_bytes).concat());
        out.push(u8::from(exists));
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            read: reader.u64()?,
            compared: reader.u64()?,
            written: reader.u64()?,
            cleared: reader.u64()?,
            needed: reader.u64()?,
            free: Some(reader.u64()?).filter(|free| *free != UNKNOWN),
            rest: reader.u64()?,
            exists: match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(reader.malformed("is unsure whether there is a target")),
            },
        })
    }
}
