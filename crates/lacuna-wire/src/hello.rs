//! The first words of each side. Their form never changes; what they can say grows by tags.

mod options;
mod tags;

use std::ops::RangeInclusive;

use crate::codec::Reader;
use crate::error::Error;
use crate::message::{WORDS_MAX, cut, printable};
use crate::token::Token;
pub use options::Dry;
use options::Options;
use tags::{Tags, framed, put};

/// What lacuna's own protocol begins with: no TLS record and no HTTP verb does.
pub const MAGIC: [u8; 8] = *b"\x8blacuna\n";

/// The longest list of capabilities, in bytes.
const BODY_MAX: usize = 8192;

/// Magic and length.
const PREFIX: usize = 10;

/// The crc64 at the end.
const CHECK: usize = 8;

/// The version that this crate speaks.
pub const VERSION: u16 = 2;

const WHAT: &str = "the hello";

const TAG_VERSION: u16 = 1;
const TAG_PROGRAM: u16 = 2;
const TAG_ROLE: u16 = 3;
const TAG_PATH: u16 = 4;
const TAG_TOKEN: u16 = 5;
const TAG_COMPRESSION: u16 = 6;
const TAG_OPTIONS: u16 = 7;
const TAG_MODE: u16 = 8;
const TAG_REFUSAL: u16 = 9;
const TAG_LEVEL: u16 = 10;
const TAG_REBUILD: u16 = 11;

/// The longest of each, in bytes.
const PROGRAM_MAX: usize = 64;
const PATH_MAX: usize = 4095;

/// All permission bits that a new image can get.
const MODE_MAX: u32 = 0o777;

/// The levels of zstd that can be asked for.
const LEVELS: RangeInclusive<u8> = 1..=19;

const ZSTD: u8 = 1;

/// Which end of a session the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The image of the client goes to the server.
    Source,
    /// The image of the server comes to the client.
    Target,
    /// Neither: the path is that of a directory, and the client works on its files.
    Keeper,
}

impl Role {
    fn encode(self) -> u8 {
        match self {
            Self::Source => 0,
            Self::Target => 1,
            Self::Keeper => 2,
        }
    }
}

/// What the client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The lowest and the highest version that it speaks.
    pub versions: (u16, u16),
    /// For people: at most 64 bytes, without control characters.
    pub program: String,
    /// Of the client.
    pub role: Role,
    /// Of the server's image, 1 to 4095 bytes.
    pub path: Vec<u8>,
    /// What the server may ask for.
    pub token: Option<Token>,
    /// It can compress with zstd, and asks for this level, 1 to 19, where the server is the source.
    pub zstd: Option<u8>,
    /// The target is read again from the medium before it is committed.
    pub verify: bool,
    /// Nothing is written, and the target tells what would be.
    pub dry: Option<Dry>,
    /// What an interrupted session left of a new target is thrown away.
    pub no_resume: bool,
    /// Permission bits of a new target, at most 0o777.
    pub mode: Option<u32>,
    /// The number of the rebuild of a replica directory that what is written belongs to.
    pub rebuild: Option<u64>,
}

/// What the server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerHello {
    /// The session begins.
    Welcome {
        /// The version of the session.
        version: u16,
        /// For people: at most 64 bytes, without control characters.
        program: String,
        /// Whether both may compress with zstd.
        zstd: bool,
    },
    /// The session does not begin.
    Refusal {
        /// One of [`codes`](crate::codes).
        code: u16,
        /// Why, for people.
        words: String,
    },
}

/// How long a hello is that begins with these bytes, or that more are needed to tell.
///
/// # Errors
///
/// [`Error::Malformed`] as soon as it cannot be one.
pub fn hello_length(begin: &[u8]) -> Result<Option<usize>, Error> {
    if begin.iter().zip(MAGIC).any(|(byte, magic)| *byte != magic) {
        return Err(malformed("does not begin with lacuna's magic"));
    }
    let Some(length) = begin.get(MAGIC.len()..PREFIX).and_then(<[u8]>::first_chunk) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_le_bytes(*length));
    match length > BODY_MAX {
        true => Err(malformed("is too long")),
        false => Ok(PREFIX.checked_add(length).and_then(|sum| sum.checked_add(CHECK))),
    }
}

impl ClientHello {
    /// The bytes of this.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] for a part that no hello has room for.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut body = vec![];
        let (low, high) = self.versions;
        put(&mut body, TAG_VERSION, &[low.to_le_bytes(), high.to_le_bytes()].concat());
        put(
            &mut body,
            TAG_PROGRAM,
            limited("the program's name", self.program.as_bytes(), PROGRAM_MAX)?,
        );
        put(&mut body, TAG_ROLE, &[self.role.encode()]);
        put(&mut body, TAG_PATH, limited("the path", &self.path, PATH_MAX)?);
        if let Some(token) = &self.token {
            put(&mut body, TAG_TOKEN, limited("the token", token.as_bytes(), Token::MAX)?);
        }
        put(&mut body, TAG_COMPRESSION, if self.zstd.is_some() { &[ZSTD] } else { &[] });
        put(&mut body, TAG_OPTIONS, &Options::of(self).encode().to_le_bytes());
        if let Some(mode) = self.mode {
            put(&mut body, TAG_MODE, &mode.to_le_bytes());
        }
        if let Some(level) = self.zstd {
            put(&mut body, TAG_LEVEL, &[level]);
        }
        if let Some(rebuild) = self.rebuild {
            put(&mut body, TAG_REBUILD, &rebuild.to_le_bytes());
        }
        Ok(framed(&body))
    }

    /// What `bytes`, a whole hello, say.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let tags = Tags::of(bytes)?;
        let versions = whole(tags.required(TAG_VERSION)?, |it| Ok((it.u16()?, it.u16()?)))?;
        let role = match whole(tags.required(TAG_ROLE)?, Reader::u8)? {
            0 => Role::Source,
            1 => Role::Target,
            2 => Role::Keeper,
            _ => return Err(malformed("has a role that there is not")),
        };
        let path = tags.required(TAG_PATH)?.rest();
        match path {
            [] => return Err(malformed("has no path")),
            _ if path.len() > PATH_MAX => return Err(malformed("has too long a path")),
            _ if path.contains(&0) => return Err(malformed("has a path with a zero byte")),
            _ => {}
        }
        let token = tags.get(TAG_TOKEN).map(Reader::rest);
        if token.is_some_and(|token| token.len() > Token::MAX) {
            return Err(malformed("has too long a token"));
        }
        let mode = tags.get(TAG_MODE).map(|mode| whole(mode, Reader::u32)).transpose()?;
        if mode.is_some_and(|mode| mode > MODE_MAX) {
            return Err(malformed("has permission bits that there are not"));
        }
        let Options { verify, dry, no_resume } = Options::decode(tags.get(TAG_OPTIONS))?;
        Ok(Self {
            versions,
            program: tags.program()?,
            role,
            path: path.to_vec(),
            token: token.map(|token| token.to_vec().into()),
            zstd: tags.level()?,
            verify,
            dry,
            no_resume,
            mode,
            rebuild: tags.get(TAG_REBUILD).map(|it| whole(it, Reader::u64)).transpose()?,
        })
    }
}

impl ServerHello {
    /// The bytes of this.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] for a name of the program that no hello has room for.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut body = vec![];
        match self {
            Self::Welcome { version, program, zstd } => {
                put(&mut body, TAG_VERSION, &version.to_le_bytes());
                put(
                    &mut body,
                    TAG_PROGRAM,
                    limited("the program's name", program.as_bytes(), PROGRAM_MAX)?,
                );
                put(&mut body, TAG_COMPRESSION, if *zstd { &[ZSTD] } else { &[] });
            }
            Self::Refusal { code, words } => {
                let words = cut(words, WORDS_MAX);
                put(&mut body, TAG_REFUSAL, &[&code.to_le_bytes(), words.as_bytes()].concat());
            }
        }
        Ok(framed(&body))
    }

    /// What `bytes`, a whole hello, say.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let tags = Tags::of(bytes)?;
        if let Some(mut refusal) = tags.get(TAG_REFUSAL) {
            let code = refusal.u16()?;
            let words = printable(refusal.rest(), WORDS_MAX);
            return Ok(Self::Refusal { code, words });
        }
        let zstd = match tags.get(TAG_COMPRESSION).map_or(&[][..], Reader::rest) {
            [] => false,
            [ZSTD] => true,
            _ => return Err(malformed("chooses a compression that was not offered")),
        };
        let version = whole(tags.required(TAG_VERSION)?, Reader::u16)?;
        Ok(Self::Welcome { version, program: tags.program()?, zstd })
    }
}

fn malformed(reason: &'static str) -> Error {
    Error::Malformed { what: WHAT, reason }
}

/// What `read` makes of a value, which has nothing behind that.
fn whole<'a, T>(
    mut value: Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, Error>,
) -> Result<T, Error> {
    let read = read(&mut value)?;
    value.finish().map_err(|_| malformed("has a capability that goes on after its end"))?;
    Ok(read)
}

fn limited<'a>(what: &'static str, bytes: &'a [u8], most: usize) -> Result<&'a [u8], Error> {
    match bytes.len() > most {
        true => Err(Error::TooLong { what, most }),
        false => Ok(bytes),
    }
}
