//! The bodies of requests, as they arrive: whole, of the right length and in good time, or not at all.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use lacuna::{BufPool, PooledBuf};
use lacuna_wire::v1::{self, Interval, Refusal, check_body};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Bodies in memory at the same time: each is whole there before it is written.
const BODIES: usize = 8;

/// A whole body may take so many times as long as it may stall.
const PATIENCE: u32 = 4;

/// What a client may still send of a body that is refused, before the connection is cut.
const DRAIN: u64 = 2 * v1::MAX_BODY as u64;

/// Receives bodies, a few at the same time.
pub(super) struct Bodies {
    stall: Duration,
    places: Semaphore,
    pool: BufPool,
}

impl Bodies {
    /// For bodies that may make no headway for as long as `stall`.
    pub(super) fn new(stall: Duration) -> Self {
        Self { stall, places: Semaphore::new(BODIES), pool: BufPool::new(v1::MAX_BODY) }
    }

    /// Waits for a place in memory, which is to be held until the body is written.
    pub(super) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.places.acquire().await.ok()
    }

    /// The whole body, of the one length that fits `interval` of an image of `size` bytes.
    pub(super) async fn receive(
        &self,
        interval: Interval,
        size: u64,
        body: &mut Incoming,
    ) -> Result<PooledBuf, Refusal> {
        let received = self.receive_slowly(interval, size, body);
        let received = tokio::time::timeout(PATIENCE * self.stall, received).await;
        received.unwrap_or_else(|_| Err(Refusal::new(408, "the body takes too long")))
    }

    async fn receive_slowly(
        &self,
        interval: Interval,
        size: u64,
        body: &mut Incoming,
    ) -> Result<PooledBuf, Refusal> {
        if let Some(length) = body.size_hint().exact() {
            check_body(interval, size, length)?;
        }
        let mut bytes = self.pool.take();
        let mut received = 0;
        while let Some(frame) = self.next_frame(body).await? {
            let end = received + frame.len();
            match bytes.get_mut(received..end) {
                Some(room) => room.copy_from_slice(&frame),
                None => return Err(Refusal::new(413, "the body is larger than any range")),
            }
            received = end;
        }
        check_body(interval, size, received as u64)?;
        bytes.truncate(received);
        Ok(bytes)
    }

    async fn next_frame(&self, body: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
        loop {
            let frame = tokio::time::timeout(self.stall, body.frame()).await;
            let frame = frame.map_err(|_| Refusal::new(408, "the body does not arrive"))?;
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(error)) => {
                    return Err(Refusal::new(400, format!("the body ended early: {error}")));
                }
            }
        }
    }

    /// Takes in what is left of a refused body, so that the client reads the refusal and not a reset.
    pub(super) async fn drain(&self, mut body: Incoming, refusal: Refusal) -> Refusal {
        if body.size_hint().exact().is_none_or(|length| length > DRAIN) {
            return refusal;
        }
        let rest = async { while let Ok(Some(_)) = self.next_frame(&mut body).await {} };
        if tokio::time::timeout(self.stall, rest).await.is_err() {
            tracing::debug!("the rest of a refused body takes too long");
        }
        refusal
    }
}
