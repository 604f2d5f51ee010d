//! Both ends of a session, wired together in memory.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use lacuna::{Cancel, ImageOptions, IoMode, Links, Progress, Source};
use lacuna_sync::Result;
use lacuna_sync::v2::{
    Failure, Landing, LinkOptions, Received, Sent, SourceOptions, TargetOptions, receive, send,
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// How two ends are wired, and what each is to do.
#[derive(Clone)]
pub(crate) struct Wiring {
    pub(crate) io: IoMode,
    pub(crate) source: SourceOptions,
    pub(crate) target: TargetOptions,
    pub(crate) link: LinkOptions,
    /// The stream breaks when so many bytes have passed, both ways.
    pub(crate) cut_at: Option<u64>,
    pub(crate) cancel: Cancel,
}

impl Default for Wiring {
    fn default() -> Self {
        let link = LinkOptions { last_words: Duration::from_millis(500), ..LinkOptions::default() };
        Self {
            io: IoMode::Auto,
            source: SourceOptions::default(),
            target: TargetOptions::default(),
            link,
            cut_at: None,
            cancel: Cancel::default(),
        }
    }
}

/// What both ends came to.
pub(crate) struct Ended {
    pub(crate) sent: Result<Sent>,
    pub(crate) received: Result<Received, Failure>,
    /// Both ways.
    pub(crate) wire_bytes: u64,
}

/// Makes `target` what `source` is.
pub(crate) fn session(source: &Path, target: &Path, wiring: &Wiring) -> Ended {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let options = ImageOptions { io: wiring.io, ..ImageOptions::default() };
    let source = Arc::new(Source::open(source, &options).unwrap());
    let landing =
        Landing { path: PathBuf::from(target), io: wiring.io, links: Links::Follow, mode: None };
    let passed = Arc::new(AtomicU64::new(0));
    let (here, there) = tokio::io::duplex(256 << 10);
    let [here, there] = [here, there].map(|stream| Wire {
        stream,
        passed: passed.clone(),
        cut_at: wiring.cut_at.unwrap_or(u64::MAX),
    });
    let (sent, received) = runtime.block_on(async {
        let sending = send(
            here,
            source,
            wiring.source,
            wiring.link.clone(),
            Arc::new(Progress::default()),
            wiring.cancel.clone(),
        );
        let receiving = receive(
            there,
            landing,
            wiring.target,
            wiring.link.clone(),
            Arc::new(Progress::default()),
            wiring.cancel.clone(),
        );
        tokio::join!(sending, receiving)
    });
    Ended { sent, received, wire_bytes: passed.load(Ordering::Relaxed) }
}

/// A stream that counts what is written to it, and breaks.
struct Wire {
    stream: DuplexStream,
    passed: Arc<AtomicU64>,
    cut_at: u64,
}

impl Wire {
    fn left(&self) -> Option<u64> {
        let left = self.cut_at.saturating_sub(self.passed.load(Ordering::Relaxed));
        (left > 0).then_some(left)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.left().is_none() {
            return Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let Some(left) = self.left() else {
            return Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()));
        };
        let bytes = &bytes[..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = written {
            self.passed.fetch_add(written as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
