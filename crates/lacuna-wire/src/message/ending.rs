//! What both ends say at the end of a session.

use crate::codec::Reader;
use crate::error::Error;

/// What the source has, and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Of the source.
    pub receipt: [u8; 32],
    /// Bytes that are data.
    pub data: u64,
    /// Bytes that are allocated and unwritten.
    pub zero: u64,
    /// Bytes that were read.
    pub read: u64,
    /// Bytes of the image that were sent.
    pub sent: u64,
}

/// What the target did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Of the target.
    pub receipt: [u8; 32],
    /// Written to it.
    pub written: u64,
    /// Read from it and compared.
    pub compared: u64,
    /// Of a device, behind the size of the source.
    pub rest: u64,
}

impl End {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.receipt);
        let Self { data, zero, read, sent, .. } = *self;
        out.extend([data, zero, read, sent].map(u64::to_le_bytes).concat());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let receipt = reader.array()?;
        let (data, zero) = (reader.u64()?, reader.u64()?);
        Ok(Self { receipt, data, zero, read: reader.u64()?, sent: reader.u64()? })
    }
}

impl Done {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.receipt);
        out.extend([self.written, self.compared, self.rest].map(u64::to_le_bytes).concat());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let receipt = reader.array()?;
        let (written, compared) = (reader.u64()?, reader.u64()?);
        Ok(Self { receipt, written, compared, rest: reader.u64()? })
    }
}
