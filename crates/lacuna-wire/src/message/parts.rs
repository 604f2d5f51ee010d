//! The parts of messages, to the byte.

use super::{Accept, Answered, Checked, DIGEST, Kinds, Offer, Wanted};
use crate::codec::{Reader, put_varint};
use crate::error::Error;

/// Chunks in one message, at most.
pub(super) const ENTRIES_MAX: usize = 8192;

impl Kinds {
    pub(super) fn encode(self) -> u8 {
        match self {
            Self::Three => 3,
            Self::Two => 2,
            Self::One => 1,
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        match reader.u8()? {
            3 => Ok(Self::Three),
            2 => Ok(Self::Two),
            1 => Ok(Self::One),
            _ => Err(reader.malformed("has a number of kinds that there is not")),
        }
    }
}

impl Offer {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.size, self.allocated].map(u64::to_le_bytes).concat());
        out.extend(self.mode.to_le_bytes());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let size = reader.u64()?;
        if i64::try_from(size).is_err() {
            return Err(reader.malformed("has a size that no file can have"));
        }
        Ok(Self { size, allocated: reader.u64()?, mode: reader.u32()? })
    }
}

impl Accept {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kinds.encode());
        out.extend([self.content_end, self.total].map(u64::to_le_bytes).concat());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let kinds = Kinds::decode(reader)?;
        Ok(Self { kinds, content_end: reader.u64()?, total: reader.u64()? })
    }
}

impl Checked {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.chunks, self.done].map(u64::to_le_bytes).concat());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { chunks: reader.u64()?, done: reader.u64()? })
    }
}

pub(super) fn encode_wanted(wanted: &[Wanted], out: &mut Vec<u8>) {
    let mut last = 0;
    for entry in wanted {
        put_varint(out, entry.chunk.wrapping_sub(last));
        out.extend(entry.missing.to_le_bytes());
        out.extend(entry.differing.to_le_bytes());
        entry.digests.iter().for_each(|digest| out.extend(digest));
        last = entry.chunk;
    }
}

pub(super) fn decode_wanted(reader: &mut Reader<'_>) -> Result<Vec<Wanted>, Error> {
    let (mut wanted, mut last): (Vec<Wanted>, u64) = (vec![], 0);
    while !reader.is_empty() {
        let chunk = next_chunk(reader, last, wanted.len())?;
        let (missing, differing) = (reader.u16()?, reader.u16()?);
        if missing & differing != 0 || missing | differing == 0 {
            return Err(reader.malformed("wants a block in two ways, or none"));
        }
        let digests = (0..differing.count_ones()).map(|_| reader.array::<DIGEST>());
        let digests = digests.collect::<Result<_, _>>()?;
        wanted.push(Wanted { chunk, missing, differing, digests });
        last = chunk;
    }
    Ok(wanted)
}

pub(super) fn encode_answered(entries: &[Answered], out: &mut Vec<u8>) {
    put_varint(out, entries.len() as u64);
    let mut last = 0;
    for entry in entries {
        put_varint(out, entry.chunk.wrapping_sub(last));
        out.extend(entry.blocks.to_le_bytes());
        last = entry.chunk;
    }
}

pub(super) fn decode_answered(reader: &mut Reader<'_>) -> Result<Vec<Answered>, Error> {
    let count = reader.varint()?;
    let (mut entries, mut last) = (vec![], 0);
    for _ in 0..count {
        let chunk = next_chunk(reader, last, entries.len())?;
        entries.push(Answered { chunk, blocks: reader.u16()? });
        last = chunk;
    }
    Ok(entries)
}

/// Chunks rise within a message.
fn next_chunk(reader: &mut Reader<'_>, last: u64, before: usize) -> Result<u64, Error> {
    let step = reader.varint()?;
    if before >= ENTRIES_MAX {
        return Err(reader.malformed("has too many chunks"));
    }
    let chunk = last.checked_add(step).filter(|_| before == 0 || step > 0);
    chunk.ok_or_else(|| reader.malformed("has its chunks out of order"))
}

/// As much of `words` as has room.
pub(crate) fn cut(words: &str, most: usize) -> &str {
    let ends = words.char_indices().map(|(start, letter)| start.saturating_add(letter.len_utf8()));
    let end = ends.take_while(|end| *end <= most).last().unwrap_or(0);
    words.get(..end).unwrap_or_default()
}

/// What a peer says, as much as has room, without what could do harm on a terminal.
pub(crate) fn printable(words: &[u8], most: usize) -> String {
    let words = words.get(..most).unwrap_or(words);
    let printable = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
    let words: String = String::from_utf8_lossy(words).chars().map(printable).collect();
    // A letter that is replaced may have become longer.
    cut(&words, most).to_owned()
}
