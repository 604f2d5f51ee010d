//! What the frames carry.

mod asks;
mod ending;
mod parts;
mod planned;
pub mod types;

use crate::codec::Reader;
use crate::error::Error;
use crate::runs::Runs;
pub use asks::{Answer, Ask, Looked, Verb};
pub use ending::{Done, End};
pub(crate) use parts::{cut, printable};
use parts::{decode_answered, decode_wanted, encode_answered, encode_wanted};
pub use planned::Planned;

/// Of a digest and of a chaining value, so many bytes are sent.
pub const DIGEST: usize = 13;

/// The longest words of [`Message::Failed`], in bytes.
pub const WORDS_MAX: usize = 1024;

/// A message; what is long in it is borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// What the source has.
    Offer(Offer),
    /// Of a part of the image, the kinds, and the digest of each chunk that has data.
    Digests {
        /// The kinds.
        runs: Runs,
        /// [`DIGEST`] bytes a chunk.
        digests: &'a [u8],
    },
    /// Of a part of the image, the kinds and the data.
    Data {
        /// The kinds.
        runs: Runs,
        /// Of the runs of data.
        bytes: &'a [u8],
    },
    /// The blocks that were wanted.
    Blocks {
        /// For each chunk that was wanted.
        entries: Vec<Answered>,
        /// Of the blocks of all entries.
        bytes: &'a [u8],
    },
    /// All was sent.
    End(End),
    /// Of a part of the image, the kinds.
    Layout(Runs),
    /// Something is asked of a directory.
    Ask {
        /// What.
        ask: Ask,
        /// What is to be put.
        bytes: &'a [u8],
    },
    /// What the target can take.
    Accept(Accept),
    /// What the target lacks.
    Want(Vec<Wanted>),
    /// How far the target is.
    Checked(Checked),
    /// The kinds are to be sent again.
    Settle,
    /// The target is what the source is, and durable.
    Done(Done),
    /// What a session that writes would do.
    Planned(Planned),
    /// What was asked of a directory.
    Answer {
        /// What it came to.
        answer: Answer,
        /// What it speaks of.
        bytes: &'a [u8],
    },
    /// Nothing, but somebody is at work.
    Working,
    /// Nothing, but somebody is there.
    Alive,
    /// The session is over.
    Failed {
        /// Why, for programs.
        code: u16,
        /// Why, for people.
        words: String,
    },
}

/// The kinds that a layout tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    /// Data, zero and hole.
    Three,
    /// Data and hole.
    Two,
    /// A device, where all is data.
    One,
}

/// What the source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// In bytes, at most `i64::MAX`.
    pub size: u64,
    /// Of that, bytes that are data or zero, about: for progress.
    pub allocated: u64,
    /// Permission bits.
    pub mode: u32,
}

/// What the target can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    /// That it holds; [`Kinds::One`] of a device.
    pub kinds: Kinds,
    /// There is no content behind this offset.
    pub content_end: u64,
    /// What [`Checked::done`] counts up to.
    pub total: u64,
}

/// A chunk of which the target lacks something; bit 0 of a mask is its first block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its number.
    pub chunk: u64,
    /// Blocks that are wanted whatever they hold.
    pub missing: u16,
    /// Blocks that are wanted if their chaining value is another.
    pub differing: u16,
    /// The chaining values of the target's, of `differing`, in order.
    pub digests: Vec<[u8; DIGEST]>,
}

/// A chunk of which some blocks follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its number.
    pub chunk: u64,
    /// Which blocks.
    pub blocks: u16,
}

/// How far the target is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Chunks with data that were checked.
    pub chunks: u64,
    /// Bytes of the image that are settled, and with *verify* then read again: for people.
    pub done: u64,
}

use types::{
    ACCEPT, ALIVE, ANSWER, ASK, BLOCKS, CHECKED, DATA, DIGESTS, DONE, END, FAILED, LAYOUT, OFFER,
    PLANNED, SETTLE, WANT, WORKING,
};

impl<'a> Message<'a> {
    /// The type in the header of its frame.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Offer(_) => OFFER,
            Self::Digests { .. } => DIGESTS,
            Self::Data { .. } => DATA,
            Self::Blocks { .. } => BLOCKS,
            Self::End(_) => END,
            Self::Layout(_) => LAYOUT,
            Self::Ask { .. } => ASK,
            Self::Accept(_) => ACCEPT,
            Self::Want(_) => WANT,
            Self::Checked(_) => CHECKED,
            Self::Settle => SETTLE,
            Self::Done(_) => DONE,
            Self::Planned(_) => PLANNED,
            Self::Answer { .. } => ANSWER,
            Self::Working => WORKING,
            Self::Alive => ALIVE,
            Self::Failed { .. } => FAILED,
        }
    }

    /// Appends the payload to `head`, but for what is borrowed, which is returned: it follows.
    pub fn encode(&self, head: &mut Vec<u8>) -> &'a [u8] {
        match self {
            Self::Offer(offer) => offer.encode(head),
            Self::Digests { runs, digests } => {
                runs.encode(head);
                return digests;
            }
            Self::Data { runs, bytes } => {
                runs.encode(head);
                return bytes;
            }
            Self::Blocks { entries, bytes } => {
                encode_answered(entries, head);
                return bytes;
            }
            Self::Ask { ask, bytes } => {
                ask.encode(head);
                return bytes;
            }
            Self::Answer { answer, bytes } => {
                answer.encode(head);
                return bytes;
            }
            Self::End(end) => end.encode(head),
            Self::Layout(runs) => runs.encode(head),
            Self::Accept(accept) => accept.encode(head),
            Self::Want(wanted) => encode_wanted(wanted, head),
            Self::Checked(checked) => checked.encode(head),
            Self::Settle | Self::Working | Self::Alive => {}
            Self::Done(done) => done.encode(head),
            Self::Planned(planned) => planned.encode(head),
            Self::Failed { code, words } => {
                head.extend(code.to_le_bytes());
                head.extend(cut(words, WORDS_MAX).as_bytes());
            }
        }
        &[]
    }

    /// What a frame of type `kind` with this payload says.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`].
    pub fn decode(kind: u8, payload: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(types::name(kind)?, payload);
        let message = match kind {
            DIGESTS => {
                let runs = Runs::decode(&mut reader)?;
                return Ok(Self::Digests { runs, digests: reader.rest() });
            }
            DATA => {
                let runs = Runs::decode(&mut reader)?;
                return Ok(Self::Data { runs, bytes: reader.rest() });
            }
            BLOCKS => {
                let entries = decode_answered(&mut reader)?;
                return Ok(Self::Blocks { entries, bytes: reader.rest() });
            }
            ASK => {
                let ask = Ask::decode(&mut reader)?;
                return Ok(Self::Ask { ask, bytes: reader.rest() });
            }
            ANSWER => {
                let answer = Answer::decode(&mut reader)?;
                return Ok(Self::Answer { answer, bytes: reader.rest() });
            }
            FAILED => {
                let code = reader.u16()?;
                return Ok(Self::Failed { code, words: printable(reader.rest(), WORDS_MAX) });
            }
            OFFER => Self::Offer(Offer::decode(&mut reader)?),
            END => Self::End(End::decode(&mut reader)?),
            LAYOUT => Self::Layout(Runs::decode(&mut reader)?),
            ACCEPT => Self::Accept(Accept::decode(&mut reader)?),
            WANT => Self::Want(decode_wanted(&mut reader)?),
            CHECKED => Self::Checked(Checked::decode(&mut reader)?),
            SETTLE => Self::Settle,
            DONE => Self::Done(Done::decode(&mut reader)?),
            PLANNED => Self::Planned(Planned::decode(&mut reader)?),
            WORKING => Self::Working,
            _ => Self::Alive,
        };
        reader.finish().map(|()| message)
    }
}
