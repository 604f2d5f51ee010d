//! The envelope of every message.

use crc_fast::CrcAlgorithm::Crc64Nvme;
use crc_fast::Digest;

use crate::error::Error;

/// The bytes before the payload.
pub const HEADER: usize = 16;

/// The longest payload, in bytes: as sent, and as it was before it was compressed.
pub const PAYLOAD_MAX: usize = (1 << 20) + (64 << 10);

const WHAT: &str = "a frame";

const COMPRESSED: u8 = 1;

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type of the message.
    pub kind: u8,
    /// Whether the payload is its length before and a zstd frame.
    pub compressed: bool,
    /// Of the payload as sent, in bytes.
    pub length: usize,
    /// Of the bytes before it and of the payload.
    check: u64,
}

impl Header {
    /// The header of a message of type `kind`, for `payload` in one or more parts as it is sent.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`].
    pub fn encode(kind: u8, compressed: bool, payload: &[&[u8]]) -> Result<[u8; HEADER], Error> {
        let length = payload.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        let too_long = Error::TooLong { what: "the payload of a frame", most: PAYLOAD_MAX };
        let length = match length > PAYLOAD_MAX {
            true => return Err(too_long),
            false => u32::try_from(length).map_err(|_| too_long)?,
        };
        let flags = if compressed { COMPRESSED } else { 0 };
        let mut header = [0; HEADER];
        let begin = [&[kind, flags, 0, 0][..], &length.to_le_bytes()].concat();
        let check = checksum(&begin, payload);
        header
            .iter_mut()
            .zip(begin.into_iter().chain(check.to_le_bytes()))
            .for_each(|(to, from)| *to = from);
        Ok(header)
    }

    /// What `bytes` say of the payload behind them.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`].
    pub fn decode(bytes: &[u8; HEADER]) -> Result<Self, Error> {
        let malformed = |reason| Error::Malformed { what: WHAT, reason };
        let [kind, flags, zero, nought, a, b, c, d, check @ ..] = *bytes;
        if flags & !COMPRESSED != 0 || zero != 0 || nought != 0 {
            return Err(malformed("has flags that there are not"));
        }
        let length = u32::from_le_bytes([a, b, c, d]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > PAYLOAD_MAX {
            return Err(malformed("is too long"));
        }
        Ok(Self {
            kind,
            compressed: flags & COMPRESSED != 0,
            length,
            check: u64::from_le_bytes(check),
        })
    }

    /// Fails when `payload` is not what was sent behind this.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`].
    pub fn check(&self, payload: &[u8]) -> Result<(), Error> {
        let flags = if self.compressed { COMPRESSED } else { 0 };
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        let begin = [&[self.kind, flags, 0, 0][..], &length.to_le_bytes()].concat();
        match payload.len() == self.length && checksum(&begin, &[payload]) == self.check {
            true => Ok(()),
            false => Err(Error::Malformed { what: WHAT, reason: "has a wrong checksum" }),
        }
    }
}

fn checksum(begin: &[u8], payload: &[&[u8]]) -> u64 {
    let mut digest = Digest::new(Crc64Nvme);
    digest.update(begin);
    payload.iter().for_each(|part| digest.update(part));
    digest.finalize()
}

/// CRC-64/NVME of all the parts, one after the other.
pub(crate) fn crc64(parts: &[&[u8]]) -> u64 {
    checksum(&[], parts)
}
