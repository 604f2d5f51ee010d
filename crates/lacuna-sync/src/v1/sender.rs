//! One of the client's lines to the server: takes work, one request at a time.

use std::sync::Arc;

use bytes::Bytes;
use lacuna::batch::Batch;
use lacuna::digest::sha512;
use lacuna::{BLOCK, BufPool, Extent, Progress, Range, Source};
use lacuna_wire::v1::{self, Interval, Request};
use tokio::sync::{Mutex, mpsc};

use super::connection::Connection;
use crate::error::{Error, Result};
use crate::runtime;

/// Something to be made so at the target.
pub(super) enum Work {
    /// A hole.
    Hole(Range),
    /// What the source has in these extents, which are allocated.
    Batch(Batch<Extent>),
}

/// A connection and what it takes to fill it.
pub(super) struct Sender {
    pub(super) source: Arc<Source>,
    pub(super) connection: Connection,
    /// Whether the target has content to compare with.
    pub(super) existed: bool,
    pub(super) pool: BufPool,
    pub(super) progress: Arc<Progress>,
}

type Digest = [u8; 64];

impl Sender {
    /// Does work until there is none. After an error nobody gets any more.
    pub(super) async fn run(mut self, queue: Arc<Mutex<mpsc::Receiver<Work>>>) -> Result<()> {
        loop {
            let work = queue.lock().await.recv().await;
            let done = match work {
                None => return Ok(()),
                Some(Work::Hole(range)) => self.punch(range).await,
                Some(Work::Batch(batch)) if self.existed => self.send_changes(batch).await,
                Some(Work::Batch(batch)) => self.send(batch).await,
            };
            let done = done.and_then(|()| Ok(self.source.watch()?));
            if done.is_err() {
                queue.lock().await.close();
                return done;
            }
        }
    }

    async fn punch(&mut self, range: Range) -> Result<()> {
        let request = Request::SendHole(self.interval(range)?);
        self.connection.demand(&request, Bytes::new()).await.map(drop)
    }

    /// As the original names the last range of an image: its end rounded up to the block.
    fn interval(&self, range: Range) -> Result<Interval> {
        let end = match range.end() == self.source.size() {
            true => range.round_out(BLOCK).end(),
            false => range.end(),
        };
        Interval::new(range.start(), end).ok_or(Error::State("a range beyond what v1 can name"))
    }

    async fn send(&mut self, batch: Batch<Extent>) -> Result<()> {
        let whole = batch.span(|_| true);
        let (bytes, _) = read(self.source.clone(), self.pool.clone(), whole, vec![]).await?;
        self.progress.read_bytes.add(batch.ranges().iter().map(|extent| extent.range.len()).sum());
        for extent in batch.ranges() {
            self.write(extent.range, slice(&bytes, whole, extent.range)).await?;
        }
        Ok(())
    }

    /// Sends the ranges whose digest the target does not have. The first is hashed there while all
    /// are read and hashed here.
    async fn send_changes(&mut self, batch: Batch<Extent>) -> Result<()> {
        let whole = batch.span(|_| true);
        let ranges: Vec<_> = batch.ranges().iter().map(|extent| extent.range).collect();
        let read =
            tokio::spawn(read(self.source.clone(), self.pool.clone(), whole, ranges.clone()));
        let first = match ranges.first() {
            Some(first) => self.digest_there(*first).await?,
            None => return Ok(()),
        };
        let (bytes, here) =
            read.await.map_err(|error| Error::Runtime { source: error.into() })??;
        self.progress.read_bytes.add(ranges.iter().map(|range| range.len()).sum());
        let mut first = Some(first);
        for (range, here) in ranges.into_iter().zip(here) {
            let there = match first.take() {
                Some(first) => first,
                None => self.digest_there(range).await?,
            };
            self.progress.compared_bytes.add(range.len());
            if there == Some(here) {
                self.progress.done_bytes.add(range.len());
            } else {
                self.write(range, slice(&bytes, whole, range)).await?;
            }
        }
        Ok(())
    }

    async fn digest_there(&mut self, range: Range) -> Result<Option<Digest>> {
        let request = Request::GetChecksum(self.interval(range)?);
        let answer = self.connection.demand(&request, Bytes::new()).await?;
        v1::decode_checksum(&answer)
            .map_err(|source| Error::Answer { peer: self.connection.address().to_owned(), source })
    }

    async fn write(&mut self, range: Range, bytes: Bytes) -> Result<()> {
        self.connection.demand(&Request::WriteData(self.interval(range)?), bytes).await?;
        self.progress.sent_bytes.add(range.len());
        self.progress.done_bytes.add(range.len());
        Ok(())
    }
}

/// The bytes of `whole`, and the digests of `ranges` within it.
async fn read(
    source: Arc<Source>,
    pool: BufPool,
    whole: Range,
    ranges: Vec<Range>,
) -> Result<(Bytes, Vec<Digest>)> {
    runtime::blocking(move || {
        let mut buf = pool.take();
        buf.truncate(whole.len() as usize);
        source.read_at(&mut buf, whole.start())?;
        let bytes = Bytes::from_owner(buf);
        let digests =
            ranges.into_iter().map(|range| sha512(&slice(&bytes, whole, range))).collect();
        Ok((bytes, digests))
    })
    .await
}

/// The part of `bytes`, which stand for `whole`, that stands for `range`.
fn slice(bytes: &Bytes, whole: Range, range: Range) -> Bytes {
    let start = (range.start() - whole.start()) as usize;
    bytes.slice(start..start + range.len() as usize)
}
