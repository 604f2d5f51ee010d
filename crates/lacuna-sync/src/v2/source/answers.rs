//! Answering what the target lacks.

use std::sync::mpsc::Receiver;

use lacuna::chunk::chaining_value;
use lacuna::ordered::in_order;
use lacuna::receipt::CHUNK;
use lacuna::{AlignedBuf, BLOCK, Range};
use lacuna_wire::{Answered, DIGEST, Message, Wanted};

use super::super::chunks::{BLOCKS, chunk_range};
use super::super::frames::{BODY, Body, Outgoing, Packer};
use super::Sending;
use super::credit::Credit;
use crate::error::{Error, Result};

/// Chunks in one answer: all of their blocks have room.
const CHUNKS: usize = BODY / CHUNK as usize;

impl Sending<'_> {
    /// Answers all `wants` in the order in which they come, until there is an empty one.
    pub(super) fn answer(&self, wants: Receiver<Vec<Wanted>>, credit: &Credit) -> Result<()> {
        let lists = std::iter::from_fn(move || wants.recv().ok().filter(|list| !list.is_empty()));
        let jobs = lists.flat_map(|list| {
            let mut rest = list;
            std::iter::from_fn(move || {
                let after = rest.split_off(rest.len().min(CHUNKS));
                let job = std::mem::replace(&mut rest, after);
                (!job.is_empty()).then_some(Ok(job))
            })
        });
        in_order(
            self.options.threads,
            jobs,
            || {
                let packer = Packer::new(self.options.zstd, &self.link.pool);
                (AlignedBuf::new(CHUNK as usize), packer, self.link.guard())
            },
            |(buf, packer, _), job: Vec<Wanted>| {
                let answered = self.link.check().and_then(|()| self.blocks(&job, buf, packer));
                let answered = answered.map_err(|error| self.link.fail(error))?;
                Ok((answered, job.len() as u64))
            },
            |(frame, chunks): (Outgoing, u64)| {
                self.progress.sent_bytes.add(frame.body_len as u64);
                self.link.send(frame)?;
                credit.answered(chunks);
                Ok(())
            },
        )
    }

    fn blocks(
        &self,
        wanted: &[Wanted],
        buf: &mut AlignedBuf,
        packer: &mut Packer,
    ) -> Result<Outgoing> {
        let (mut body, mut entries) = (Body::new(&self.link.pool), vec![]);
        let whole = Range::to(self.source.size());
        for want in wanted {
            let chunk = chunk_range(want.chunk, whole);
            let asked = want.missing | want.differing;
            if u64::from(16 - asked.leading_zeros()) > chunk.len().div_ceil(BLOCK) {
                return Err(Error::malformed("a Want", "names blocks outside of the image"));
            }
            let bytes = &mut buf[..chunk.len() as usize];
            self.source.read_at(bytes, chunk.start())?;
            self.link.works();
            self.progress.read_bytes.add(chunk.len());
            let blocks = differing(want, chunk, bytes);
            // In a dry session it is enough to tell which.
            let sent = if self.dry.is_none() { blocks } else { 0 };
            for block in chunk.pieces(BLOCK).filter(|block| sent >> index_of(*block) & 1 == 1) {
                body.grow(block.len() as usize).copy_from_slice(&bytes[block.within(chunk)]);
            }
            entries.push(Answered { chunk: want.chunk, blocks });
        }
        self.source.watch()?;
        Outgoing::carrying(body, |bytes| Message::Blocks { entries, bytes }, packer)
    }
}

fn index_of(block: Range) -> u64 {
    block.start() / BLOCK % BLOCKS
}

/// Which blocks of a chunk with these `bytes` are to be sent.
fn differing(want: &Wanted, chunk: Range, bytes: &[u8]) -> u16 {
    let mut digests = want.digests.iter();
    let mut blocks = want.missing;
    for block in chunk.pieces(BLOCK) {
        let index = index_of(block);
        if want.differing >> index & 1 == 1 {
            let value = chaining_value(&bytes[block.within(chunk)], index);
            let differs = digests.next().is_none_or(|digest| value[..DIGEST] != *digest);
            blocks |= u16::from(differs) << index;
        }
    }
    blocks
}
