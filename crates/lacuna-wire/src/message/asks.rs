//! What is asked of a directory, and answered.

use super::Kinds;
use crate::codec::Reader;
use crate::error::Error;

/// The longest name of a file, in bytes.
const NAME_MAX: usize = 255;

/// What is to be done with a file of the directory, or with all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Tell the names of the files.
    List,
    /// Tell what is known of an image without reading it.
    Look,
    /// Tell what a small file holds.
    Read,
    /// Replace a small file but `volume.meta` by the bytes that follow.
    Put,
    /// Remove a file.
    Remove,
    /// Tell which directory it is.
    Identify,
    /// Say in `volume.meta`, which is the bytes that follow otherwise, that the directory is being rebuilt.
    Begin,
    /// Replace `volume.meta` by the bytes that follow: the directory is complete.
    End,
}

/// Of a client that works on a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What is asked.
    pub verb: Verb,
    /// Nothing more is.
    pub last: bool,
    /// Of which file; empty where all of the directory is meant.
    pub name: String,
}

/// What is known of an image without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// In bytes.
    pub size: u64,
    /// Over size and kinds, by BLAKE3.
    pub layout: [u8; 32],
    /// Those that its layout tells apart.
    pub kinds: Kinds,
    /// A file marks it as unfinished.
    pub is_unfinished: bool,
    /// Somebody has it open for writing.
    pub in_use: bool,
    /// The names that lead to it.
    pub links: u32,
    /// Seconds since 1970, and nanoseconds.
    pub change_time: (i64, u32),
    /// Method and value of a fresh checksum.
    pub checksum: Option<(String, String)>,
}

/// What an [`Ask`] comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Did,
    /// There is no such file.
    Absent,
    /// Of an image.
    Looked(Looked),
    /// The bytes that follow: of a file, or names with a zero byte behind each.
    Bytes,
}

impl Ask {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let verb = match self.verb {
            Verb::List => 0,
            Verb::Look => 1,
            Verb::Read => 2,
            Verb::Put => 3,
            Verb::Remove => 4,
            Verb::Identify => 5,
            Verb::Begin => 6,
            Verb::End => 7,
        };
        out.extend([verb, u8::from(self.last)]);
        put_text(out, &self.name);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let verb = match reader.u8()? {
            0 => Verb::List,
            1 => Verb::Look,
            2 => Verb::Read,
            3 => Verb::Put,
            4 => Verb::Remove,
            5 => Verb::Identify,
            6 => Verb::Begin,
            7 => Verb::End,
            _ => return Err(reader.malformed("asks for what there is not")),
        };
        Ok(Self { verb, last: bit(reader)?, name: text(reader)? })
    }
}

impl Answer {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Did => out.push(0),
            Self::Absent => out.push(1),
            Self::Looked(looked) => {
                out.push(2);
                looked.encode(out);
            }
            Self::Bytes => out.push(3),
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        match reader.u8()? {
            0 => Ok(Self::Did),
            1 => Ok(Self::Absent),
            2 => Looked::decode(reader).map(Self::Looked),
            3 => Ok(Self::Bytes),
            _ => Err(reader.malformed("is of a form that there is not")),
        }
    }
}

impl Looked {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.size.to_le_bytes());
        out.extend(self.layout);
        let (seconds, nanoseconds) = self.change_time;
        out.push(self.kinds.encode());
        out.extend([self.is_unfinished, self.in_use].map(u8::from));
        out.extend(self.links.to_le_bytes());
        out.extend(seconds.to_le_bytes());
        out.extend(nanoseconds.to_le_bytes());
        out.push(u8::from(self.checksum.is_some()));
        if let Some((method, value)) = &self.checksum {
            put_text(out, method);
            put_text(out, value);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let (size, layout) = (reader.u64()?, reader.array()?);
        let (kinds, is_unfinished, in_use) = (Kinds::decode(reader)?, bit(reader)?, bit(reader)?);
        let (links, seconds) = (reader.u32()?, reader.array().map(i64::from_le_bytes)?);
        let change_time = (seconds, reader.u32()?);
        let checksum = match bit(reader)? {
            true => Some((text(reader)?, text(reader)?)),
            false => None,
        };
        Ok(Self { size, layout, kinds, is_unfinished, in_use, links, change_time, checksum })
    }
}

fn bit(reader: &mut Reader<'_>) -> Result<bool, Error> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.malformed("is neither sure nor not")),
    }
}

/// What is longer than a name is cut.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = super::cut(text, NAME_MAX);
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend(text.as_bytes());
}

fn text(reader: &mut Reader<'_>) -> Result<String, Error> {
    let length = reader.u8()?;
    let bytes = reader.bytes(usize::from(length))?;
    str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| reader.malformed("has text that is no UTF-8"))
}
