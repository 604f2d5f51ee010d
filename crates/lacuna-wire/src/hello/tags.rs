//! The capabilities of a hello, and what stands around them.

use super::{
    CHECK, LEVELS, MAGIC, PREFIX, PROGRAM_MAX, TAG_COMPRESSION, TAG_LEVEL, TAG_PROGRAM, WHAT, ZSTD,
    hello_length, malformed, whole,
};
use crate::codec::Reader;
use crate::error::Error;
use crate::frame::crc64;

/// No value is longer than a `u16` can tell: the longest that is [`limited`] has 4095 bytes.
pub(super) fn put(body: &mut Vec<u8>, tag: u16, value: &[u8]) {
    body.extend(tag.to_le_bytes());
    body.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    body.extend(value);
}

pub(super) fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend(body);
    bytes.extend(crc64(&[&bytes]).to_le_bytes());
    bytes
}

/// The capabilities of a hello, those that are not known among them.
pub(super) struct Tags<'a>(Vec<(u16, &'a [u8])>);

impl<'a> Tags<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, Error> {
        if hello_length(bytes)? != Some(bytes.len()) {
            return Err(malformed("is not as long as it says"));
        }
        let (covered, check) =
            bytes.split_last_chunk::<CHECK>().ok_or_else(|| malformed("ends early"))?;
        if crc64(&[covered]) != u64::from_le_bytes(*check) {
            return Err(malformed("has a wrong checksum"));
        }
        let mut reader = Reader::new(WHAT, covered);
        reader.bytes(PREFIX)?;
        let mut tags: Vec<(u16, &[u8])> = vec![];
        while !reader.is_empty() {
            let (tag, length) = (reader.u16()?, reader.u16()?);
            if tags.last().is_some_and(|(last, _)| *last >= tag) {
                return Err(malformed("has its capabilities out of order"));
            }
            tags.push((tag, reader.bytes(usize::from(length))?));
        }
        Ok(Self(tags))
    }

    pub(super) fn get(&self, tag: u16) -> Option<Reader<'a>> {
        let found = self.0.iter().find(|(known, _)| *known == tag);
        found.map(|(_, value)| Reader::new(WHAT, value))
    }

    pub(super) fn required(&self, tag: u16) -> Result<Reader<'a>, Error> {
        self.get(tag).ok_or_else(|| malformed("leaves out what it must say"))
    }

    pub(super) fn program(&self) -> Result<String, Error> {
        let name = self.get(TAG_PROGRAM).map_or(&[][..], Reader::rest);
        let name = str::from_utf8(name).ok().filter(|name| name.len() <= PROGRAM_MAX);
        match name.filter(|name| !name.contains(char::is_control)) {
            Some(name) => Ok(name.to_owned()),
            None => Err(malformed("has a name of its program that is too long or cannot be shown")),
        }
    }

    /// Of zstd, if the client can compress with it: 1 if it asks for none.
    pub(super) fn level(&self) -> Result<Option<u8>, Error> {
        let known = self.get(TAG_COMPRESSION).map_or(&[][..], Reader::rest);
        let level = self.get(TAG_LEVEL).map_or(Ok(1), |level| whole(level, Reader::u8))?;
        match LEVELS.contains(&level) {
            true => Ok(known.contains(&ZSTD).then_some(level)),
            false => Err(malformed("asks for a level of zstd that there is not")),
        }
    }
}
