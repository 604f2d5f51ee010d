//! A session from the first frame to the last, on either end of a stream.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use lacuna::{Cancel, IoMode, Kept, Links, Permissions, Progress, Source, Target};
use lacuna_wire::{Message, Offer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::link::{Link, LinkOptions};
use super::source::{Sending, Sent, SourceOptions};
use super::target::{Received, Receiving, TargetOptions, fit};
use crate::error::{Error, Result};

/// Where an image is to land.
#[derive(Clone, Debug)]
pub struct Landing {
    /// The image, new or old.
    pub path: PathBuf,
    /// Direct or buffered.
    pub io: IoMode,
    /// What to do about a name that is a symbolic link.
    pub links: Links,
    /// Permission bits of a new image, whatever the umask; those of the source, less the umask, when
    /// `None`.
    pub mode: Option<u32>,
}

/// A session that did not come to its end.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub cause: Box<Error>,
    /// What it left at the target, where that is known.
    pub kept: Kept,
}

/// As its cause.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}

impl From<Error> for Failure {
    fn from(cause: Error) -> Self {
        Self { cause: Box::new(cause), kept: Kept::Nothing }
    }
}

/// Makes the image at the other end of `stream` what `source` is: durable there when this returns.
///
/// # Errors
///
/// Whatever went wrong first, at either end.
pub async fn send<S>(
    stream: S,
    source: Arc<Source>,
    options: SourceOptions,
    link: LinkOptions,
    progress: Arc<Progress>,
    cancel: Cancel,
) -> Result<Sent>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let link = Link::new(stream, &link, &cancel);
    let (link, sent) = on_thread(move || {
        let _guard = link.guard();
        let (source, progress, cancel) = (&*source, &*progress, &cancel);
        let sent = Sending { link: &link, source, dry: None, options, progress, cancel }.run();
        let sent = sent.map_err(|error| link.fail(error));
        source.image().drop_cache();
        (link, sent)
    })
    .await?;
    link.close(sent).await
}

/// Makes the image at `landing` what the one at the other end of `stream` is.
///
/// # Errors
///
/// Whatever went wrong first, at either end, and what is kept of what had come by then.
pub async fn receive<S>(
    stream: S,
    landing: Landing,
    options: TargetOptions,
    link: LinkOptions,
    progress: Arc<Progress>,
    cancel: Cancel,
) -> Result<Received, Failure>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let link = Link::new(stream, &link, &cancel);
    let (link, received, kept) = on_thread(move || {
        let _guard = link.guard();
        let received = land(&link, &landing, options, &progress, &cancel);
        let (received, kept) = match received {
            Ok(received) => (Ok(received), Kept::Nothing),
            Err(Failure { cause, kept }) => (Err(link.fail(*cause)), kept),
        };
        (link, received, kept)
    })
    .await?;
    link.close(received).await.map_err(|cause| Failure { cause: Box::new(cause), kept })
}

pub(super) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Runtime { source: std::io::Error::other(error) })
}

fn land(
    link: &Link,
    landing: &Landing,
    options: TargetOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Received, Failure> {
    let offer = offer(link)?;
    let permissions = match landing.mode {
        Some(mode) => Permissions::Exact(mode),
        None => Permissions::Masked(offer.mode & 0o777),
    };
    let open = lacuna::TargetOptions { io: landing.io, permissions, links: landing.links };
    let mut target = Target::open(&landing.path, &open).map_err(Error::Image)?;
    let received = fit(&mut target, offer.size).and_then(|()| {
        let receiving = Receiving::new(link, &target, &offer, options, progress, cancel)?;
        let received = receiving.run()?;
        receiving.commit()?;
        Ok(received)
    });
    match received {
        Ok(received) => {
            // Whoever hears that it is done may come back at once.
            drop(target);
            // It is here to stay, whether the source hears of it or not.
            let _ = link.say(&Message::Done(received.done()));
            Ok(received)
        }
        Err(cause) => {
            let cause = Box::new(link.fail(cause));
            target.abandon();
            // There is no record of what is left: the next session compares.
            Err(Failure { cause, kept: target.left() })
        }
    }
}

pub(super) fn offer(link: &Link) -> Result<Offer> {
    match link.recv()?.open(&link.pool)?.message()? {
        Message::Offer(offer) => Ok(offer),
        _ => Err(Error::malformed("something", "is no Offer")),
    }
}
