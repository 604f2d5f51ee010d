//! Reading an image in parts, for a digest.

use super::Method;
use crate::aligned_buf::{BufPool, PooledBuf};
use crate::batch::{BATCH_BYTES, Batch};
use crate::digest::{Crc64, Hasher};
use crate::error::Result;
use crate::extent::{Extent, Kind, Range};
use crate::layout::{LayoutOptions, pieces};
use crate::progress::Progress;
use crate::source::Source;

/// Zeros that a method takes at a time which has to see them, so that cancelling does not wait.
const ZEROS: u64 = 64 << 20;

/// What the threads that read share.
pub(super) struct Reader<'a> {
    source: &'a Source,
    method: Method,
    pool: BufPool,
}

/// What was read of a few extents.
pub(super) struct Part {
    pub(super) extents: Vec<Extent>,
    crc: Option<Crc64>,
    /// Where the bytes lie.
    read: Range,
    bytes: PooledBuf,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a Source, method: Method) -> Self {
        Self { source, method, pool: BufPool::new(BATCH_BYTES as usize) }
    }

    /// The layout, neighbouring extents together as far as one read goes.
    pub(super) fn batches(&self) -> Result<impl Iterator<Item = Result<Batch<Extent>>>> {
        let method = self.method;
        let length = move |kind| match (kind, method) {
            (Kind::Data, _) => BATCH_BYTES,
            (Kind::Zero | Kind::Hole, Method::Crc64) => u64::MAX,
            (Kind::Zero | Kind::Hole, _) => ZEROS,
        };
        let layout = self.source.layout(&LayoutOptions::default())?;
        let (mut pieces, mut batch) = (pieces(layout, length), Batch::new());
        Ok(std::iter::from_fn(move || {
            for extent in pieces.by_ref() {
                match extent.map(|extent| batch.push(extent)) {
                    Ok(None) => {}
                    Ok(Some(full)) => return Some(Ok(full)),
                    Err(error) => return Some(Err(error)),
                }
            }
            Some(batch.take()).filter(|last| !last.ranges().is_empty()).map(Ok)
        }))
    }

    pub(super) fn read(&self, batch: Batch<Extent>, progress: &Progress) -> Result<Part> {
        let read = batch.span(|extent| extent.kind == Kind::Data);
        let mut bytes = self.pool.take();
        bytes.truncate(read.len() as usize);
        self.source.read_at(&mut bytes, read.start())?;
        self.source.watch()?;
        let mut part = Part { extents: batch.into_ranges(), crc: None, read, bytes };
        for extent in part.extents.iter().filter(|extent| extent.kind == Kind::Data) {
            progress.read_bytes.add(extent.range.len());
            progress.done_bytes.add(extent.range.len());
        }
        if self.method == Method::Crc64 {
            let mut crc = Hasher::crc64();
            part.feed(&mut crc);
            if let Hasher::Crc64(crc) = crc {
                part.crc = Some(crc);
            }
        }
        Ok(part)
    }
}

impl Part {
    /// Hands what was read to `hasher`: the CRC of all of it, if that is known by now.
    pub(super) fn feed(&self, hasher: &mut Hasher) {
        if let (Hasher::Crc64(before), Some(crc)) = (&mut *hasher, self.crc) {
            *before = before.then(crc);
            return;
        }
        let zeros = [0; 64 << 10];
        for extent in &self.extents {
            match extent.kind {
                Kind::Data => hasher.update(&self.bytes[extent.range.within(self.read)]),
                Kind::Zero | Kind::Hole => hasher.update_zeros(extent.range.len(), &zeros),
            }
        }
    }
}
