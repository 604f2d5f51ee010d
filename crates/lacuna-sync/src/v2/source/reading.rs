//! Making a message of a part: reading, hashing, packing.

use lacuna::receipt::Receipt;
use lacuna::{AlignedBuf, Extent, Range};
use lacuna_wire::{DIGEST, Message};

use super::super::chunks::{ChunkHasher, Chunks, runs_of};
use super::super::frames::{BODY, Body, Outgoing, Packer};
use super::super::link::PanicGuard;
use super::super::parts::{Cut, GAP, Most, Part, parts};
use super::{Sending, is_data};
use crate::error::{Error, Result};

/// A frame, and what it is about.
pub(super) struct Made {
    pub(super) frame: Outgoing,
    /// In a frame of digests.
    pub(super) digests: u64,
    pub(super) receipt: Receipt,
}

/// A thread that reads, with its buffers.
pub(super) struct Reading<'a> {
    sending: &'a Sending<'a>,
    span: AlignedBuf,
    hasher: ChunkHasher,
    packer: Packer,
    _guard: PanicGuard,
}

impl<'a> Reading<'a> {
    pub(super) fn new(sending: &'a Sending<'a>) -> Self {
        let packer = Packer::new(sending.options.zstd, &sending.link.pool);
        let (span, hasher) = (AlignedBuf::new(BODY), ChunkHasher::new());
        Self { sending, span, hasher, packer, _guard: sending.link.guard() }
    }

    pub(super) fn make(&mut self, part: &Part) -> Result<Made> {
        self.sending.link.check()?;
        self.sending.source.watch()?;
        let mut body = Body::new(&self.sending.link.pool);
        let (mut receipt, mut digests) = (Receipt::default(), vec![]);
        if part.has_content {
            let extents = part.extents.iter().map(|extent| Ok::<_, Error>(*extent));
            let most = Most::read(self.sending.source.read_size());
            for piece in parts(extents, Cut { content_end: 0, count_holes: false, most }) {
                body.clear();
                self.digest(&piece?.extents, &mut body, &mut receipt, &mut digests)?;
            }
        } else {
            self.digest(&part.extents, &mut body, &mut receipt, &mut digests)?;
        }
        let runs = runs_of(&part.extents)?;
        let (frame, digests) = match part.has_content {
            true => {
                let count = (digests.len() / DIGEST) as u64;
                (Outgoing::new(&Message::Digests { runs, digests: &digests })?, count)
            }
            false => {
                let frame = Outgoing::carrying(
                    body,
                    |bytes| Message::Data { runs, bytes },
                    &mut self.packer,
                )?;
                (frame, 0)
            }
        };
        Ok(Made { frame, digests, receipt })
    }

    /// Reads `extents`, and adds up what their chunks have.
    fn digest(
        &mut self,
        extents: &[Extent],
        body: &mut Body,
        receipt: &mut Receipt,
        digests: &mut Vec<u8>,
    ) -> Result<()> {
        self.read(extents, body)?;
        for chunk in Chunks::new(extents, self.sending.source.size()).iter() {
            let digest = self.hasher.hash(&chunk, body.bytes());
            receipt.add(chunk.index, chunk.kinds(), &digest);
            if chunk.data() != 0 {
                digests.extend(&digest[..DIGEST]);
            }
        }
        Ok(())
    }

    /// The bytes of all data, one after the other. Near neighbours are read at once.
    fn read(&mut self, extents: &[Extent], body: &mut Body) -> Result<()> {
        let image = self.sending.source;
        let data: Vec<Range> =
            extents.iter().filter(|extent| is_data(extent)).map(|extent| extent.range).collect();
        for near in near(&data) {
            let span = near[0].through(near[near.len() - 1]);
            match near {
                [only] => image.read_at(body.grow(only.len() as usize), only.start())?,
                _ => {
                    let bytes = &mut self.span[..span.len() as usize];
                    image.read_at(bytes, span.start())?;
                    for range in near {
                        let from = range.within(span);
                        body.grow(from.len()).copy_from_slice(&bytes[from]);
                    }
                }
            }
            self.sending.link.works();
            self.sending.progress.read_bytes.add(near.iter().map(|range| range.len()).sum());
        }
        Ok(())
    }
}

/// Groups of neighbours with little between them, that span no more than a buffer unless one does.
fn near(ranges: &[Range]) -> impl Iterator<Item = &[Range]> {
    let mut rest = ranges;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let follows = |(before, range): (&Range, &Range)| {
            range.start() - before.end() <= GAP && first.through(*range).len() <= BODY as u64
        };
        let more = rest.iter().zip(&rest[1..]).take_while(|pair| follows(*pair)).count();
        let (group, after) = rest.split_at(more + 1);
        rest = after;
        Some(group)
    })
}
