//! Reading and writing the integers of a message.

use crate::error::Error;

/// The longest varint, in bytes.
const VARINT_MAX: usize = 10;

/// The bytes of one message that are not read yet.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, which are `what`.
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    pub(crate) fn malformed(&self, reason: &'static str) -> Error {
        Error::Malformed { what: self.what, reason }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (bytes, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| self.malformed("ends early"))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// All that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (array, rest) =
            self.rest.split_first_chunk().ok_or_else(|| self.malformed("ends early"))?;
        self.rest = rest;
        Ok(*array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0_u64;
        for place in 0..VARINT_MAX {
            let byte = self.u8()?;
            let shift = u32::try_from(place).unwrap_or(0).saturating_mul(7);
            let bits = u64::from(byte & 0x7f);
            let shifted = bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits);
            value |= shifted.ok_or_else(|| self.malformed("has a number over 64 bits"))?;
            if byte & 0x80 == 0 {
                return match byte == 0 && place > 0 {
                    true => Err(self.malformed("has a number of more bytes than it needs")),
                    false => Ok(value),
                };
            }
        }
        Err(self.malformed("has a number over 64 bits"))
    }

    /// That nothing is left.
    pub(crate) fn finish(self) -> Result<(), Error> {
        match self.is_empty() {
            true => Ok(()),
            false => Err(self.malformed("goes on after its end")),
        }
    }
}

/// Appends `value` as a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn varint(bytes: &[u8]) -> Result<u64, Error> {
        let mut reader = Reader::new("a number", bytes);
        let value = reader.varint()?;
        reader.finish().map(|()| value)
    }

    proptest! {
        #[test]
        fn a_varint_is_read_as_it_was_written(value: u64, few in 0..300_u64) {
            for value in [value, few, value >> 30] {
                let mut bytes = vec![];
                put_varint(&mut bytes, value);
                prop_assert_eq!(varint(&bytes), Ok(value));
                prop_assert!(varint(&bytes[..bytes.len() - 1]).is_err());
            }
        }
    }

    #[test]
    fn a_varint_has_one_form() {
        assert_eq!(varint(&[0]), Ok(0));
        assert_eq!(varint(&[0xff, 0x01]), Ok(255));
        for wrong in [&[0x80, 0x00][..], &[0xff; 10], &[0xff; 11], &[]] {
            assert!(varint(wrong).is_err(), "{wrong:?}");
        }
        let mut most = [0xff; 10];
        most[9] = 1;
        assert_eq!(varint(&most), Ok(u64::MAX));
        most[9] = 2;
        assert!(varint(&most).is_err());
    }
}
