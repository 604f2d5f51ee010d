//! Frames on their way out and in, in buffers that are used again.
//!
//! A buffer has room for the longest payload. What is long in a message, and a multiple of 4096 bytes,
//! lies at an address that direct I/O accepts, on both ends: what comes before it grows backwards.

use lacuna::{BufPool, PooledBuf};
use lacuna_wire::{HEADER, Header, Message, PAYLOAD_MAX, types};
use zstd::bulk::{Compressor, decompress_to_buffer};

use crate::error::{Error, Result};

/// Image bytes in one frame, at most.
pub(super) const BODY: usize = 1 << 20;

/// What comes before them in a buffer: the header and the rest of the message.
const HEAD: usize = PAYLOAD_MAX - BODY;

/// A payload is tried for what it may lose by being compressed, in bytes.
const SAMPLE: usize = 32 << 10;

/// The buffers of one link.
pub(super) fn pool() -> BufPool {
    BufPool::new(PAYLOAD_MAX)
}

/// A body that is being filled.
pub(super) struct Body {
    buf: PooledBuf,
    len: usize,
}

impl Body {
    pub(super) fn new(pool: &BufPool) -> Self {
        Self { buf: pool.take(), len: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Room for `len` more bytes, which must be filled.
    pub(super) fn grow(&mut self, len: usize) -> &mut [u8] {
        let start = HEAD + self.len;
        self.len += len;
        &mut self.buf[start..start + len]
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buf[HEAD..HEAD + self.len]
    }
}

/// A frame to be written.
pub(super) struct Outgoing {
    bytes: Bytes,
    pub(super) body_len: usize,
}

enum Bytes {
    Small(Vec<u8>),
    Large { buf: PooledBuf, start: usize, end: usize },
}

impl Outgoing {
    /// What is long in `message` is copied.
    pub(super) fn new(message: &Message<'_>) -> Result<Self> {
        let mut bytes = vec![0; HEADER];
        let tail = message.encode(&mut bytes);
        bytes.extend(tail);
        let header = Header::encode(message.kind(), false, &[&bytes[HEADER..]]);
        bytes[..HEADER].copy_from_slice(&header.map_err(Error::Wire)?);
        Ok(Self { bytes: Bytes::Small(bytes), body_len: 0 })
    }

    /// `message`, given the bytes of `body`, which are not copied.
    pub(super) fn carrying(
        mut body: Body,
        message: impl for<'a> FnOnce(&'a [u8]) -> Message<'a>,
        packer: &mut Packer,
    ) -> Result<Self> {
        let mut head = vec![];
        let message = message(body.bytes());
        message.encode(&mut head);
        let (kind, too_long) = (message.kind(), HEADER + head.len() > HEAD);
        if too_long {
            let most = HEAD - HEADER;
            let what = "what comes before the bytes of a frame";
            return Err(Error::Wire(lacuna_wire::Error::TooLong { what, most }));
        }
        let (start, end) = (HEAD - head.len(), HEAD + body.len);
        body.buf[start..HEAD].copy_from_slice(&head);
        if let Some(packed) = packer.pack(kind, &body.buf[start..end])? {
            return Ok(Self { bytes: packed, body_len: body.len });
        }
        let header = Header::encode(kind, false, &[&body.buf[start..end]]).map_err(Error::Wire)?;
        body.buf[start - HEADER..start].copy_from_slice(&header);
        let bytes = Bytes::Large { buf: body.buf, start: start - HEADER, end };
        Ok(Self { bytes, body_len: body.len })
    }

    /// Whether it shows no more than that somebody is here.
    pub(super) fn is_alive(&self) -> bool {
        self.bytes().first() == Some(&types::ALIVE)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Small(bytes) => bytes,
            Bytes::Large { buf, start, end } => &buf[*start..*end],
        }
    }
}

/// Compresses payloads for which that pays.
pub(super) struct Packer {
    zstd: Option<Compressor<'static>>,
    pool: BufPool,
}

impl Packer {
    /// At `level`; not at all without one, or without the memory for it.
    pub(super) fn new(level: Option<u8>, pool: &BufPool) -> Self {
        Self {
            zstd: level.and_then(|level| Compressor::new(level.into()).ok()),
            pool: pool.clone(),
        }
    }

    fn pack(&mut self, kind: u8, payload: &[u8]) -> Result<Option<Bytes>> {
        let Some(zstd) = &mut self.zstd else { return Ok(None) };
        let mut buf = self.pool.take();
        let sample = &payload[..payload.len().min(SAMPLE)];
        let limit = |len: usize| len - len / 8;
        // What does not fit is not worth it.
        if sample.len() < payload.len() / 2
            && zstd.compress_to_buffer(sample, &mut buf[..limit(sample.len())]).is_err()
        {
            return Ok(None);
        }
        let begin = HEADER + size_of::<u32>();
        let room = &mut buf[begin..begin + limit(payload.len()).min(PAYLOAD_MAX - begin)];
        let Ok(packed) = zstd.compress_to_buffer(payload, room) else { return Ok(None) };
        let before = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        buf[HEADER..begin].copy_from_slice(&before.to_le_bytes());
        let end = begin + packed;
        let header = Header::encode(kind, true, &[&buf[HEADER..end]]).map_err(Error::Wire)?;
        buf[..HEADER].copy_from_slice(&header);
        Ok(Some(Bytes::Large { buf, start: 0, end }))
    }
}

/// A frame as it came.
pub(super) struct Arrived {
    header: Header,
    payload: Payload,
}

/// The payload of a frame, at the end of its buffer.
pub(super) struct Payload {
    kind: u8,
    buf: PooledBuf,
    start: usize,
}

impl Arrived {
    /// With a payload that must be filled.
    pub(super) fn new(header: Header, pool: &BufPool) -> Self {
        let start = PAYLOAD_MAX - header.length.min(PAYLOAD_MAX);
        Self { header, payload: Payload { kind: header.kind, buf: pool.take(), start } }
    }

    pub(super) fn kind(&self) -> u8 {
        self.header.kind
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        let start = self.payload.start;
        &mut self.payload.buf[start..]
    }

    /// The payload as it was before it was compressed, checked.
    pub(super) fn open(self, pool: &BufPool) -> Result<Payload> {
        let sent = self.payload.bytes();
        self.header.check(sent).map_err(Error::Wire)?;
        if !self.header.compressed {
            return Ok(self.payload);
        }
        let malformed = |reason| {
            Error::Wire(lacuna_wire::Error::Malformed { what: "a compressed frame", reason })
        };
        let (before, packed) =
            sent.split_first_chunk().ok_or_else(|| malformed("has no length"))?;
        let length = u32::from_le_bytes(*before) as usize;
        let start = PAYLOAD_MAX.checked_sub(length).ok_or_else(|| malformed("is too long"))?;
        let mut buf = pool.take();
        match decompress_to_buffer(packed, &mut buf[start..]) {
            Ok(unpacked) if unpacked == length => {
                Ok(Payload { kind: self.header.kind, buf, start })
            }
            Ok(_) => Err(malformed("is not as long as it says")),
            Err(_) => Err(malformed("cannot be decompressed")),
        }
    }
}

impl Payload {
    fn bytes(&self) -> &[u8] {
        &self.buf[self.start..]
    }

    pub(super) fn message(&self) -> Result<Message<'_>> {
        Message::decode(self.kind, self.bytes()).map_err(Error::Wire)
    }
}
