//! A session from the first frame to the last, on either end of a stream.

use std::path::PathBuf;
use std::sync::Arc;

use lacuna::chain::{Files, Rebuild};
use lacuna::copy::CopyPlan;
use lacuna::{
    Cancel, IoMode, Kept, KindBytes, LayoutOrigin, Links, Permissions, Progress, Source, Target,
};
use lacuna_wire::{Done, Dry, Message, Offer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::keeping::{self, Answered, Asked};
use super::link::{Alias, Link, LinkOptions};
use super::planning::look;
use super::source::{Sending, SourceOptions};
use super::stopped::Stopped;
use super::target::{Receiving, TargetOptions, fit};
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
    /// The rebuild of its directory that the image belongs to.
    pub rebuild: Option<Rebuild>,
}

/// What a session did, the same as both ends tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// Size of the image.
    pub size_bytes: u64,
    /// The kinds of the source.
    pub kinds: KindBytes,
    /// Read from the source.
    pub read_bytes: u64,
    /// Read from the target and compared.
    pub compared_bytes: u64,
    /// Of the image, sent.
    pub sent_bytes: u64,
    /// Written to the target.
    pub written_bytes: u64,
    /// What a target device has behind the source's size, left alone.
    pub rest_bytes: u64,
    /// Which kinds the target can have.
    pub target_layout_from: LayoutOrigin,
    /// Of both ends.
    pub receipt: [u8; 32],
}

impl Synced {
    /// What the source is told when all of it lasts.
    fn done(&self) -> Done {
        let Self { receipt, written_bytes, compared_bytes, rest_bytes, .. } = *self;
        Done { receipt, written: written_bytes, compared: compared_bytes, rest: rest_bytes }
    }
}

/// One end of a session that is to be.
#[derive(Clone, Debug, Default)]
pub struct Session {
    link: LinkOptions,
    alias: Arc<Alias>,
    progress: Arc<Progress>,
    cancel: Cancel,
}

impl Session {
    /// Over a link of this kind. It shows its `progress`, and ends when `cancel` asks for that.
    pub fn new(link: LinkOptions, progress: Arc<Progress>, cancel: Cancel) -> Self {
        Self { link, alias: Arc::default(), progress, cancel }
    }

    /// The same, with other names in the words of errors that the peer reads.
    pub(super) fn named(self, alias: Arc<Alias>) -> Self {
        Self { alias, ..self }
    }

    /// Makes the image at the other end of `stream` what `source` is: durable there when this returns.
    ///
    /// # Errors
    ///
    /// Whatever went wrong first, at either end.
    pub async fn send<S>(
        self,
        stream: S,
        source: Arc<Source>,
        options: SourceOptions,
    ) -> Result<Synced, Stopped>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        self.sending(stream, source, None, options, |sending| sending.run()).await
    }

    /// What [`send`](Self::send) would do.
    ///
    /// # Errors
    ///
    /// Whatever went wrong first, at either end.
    pub async fn plan_send<S>(
        self,
        stream: S,
        source: Arc<Source>,
        dry: Dry,
        options: SourceOptions,
    ) -> Result<CopyPlan, Stopped>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        self.sending(stream, source, Some(dry), options, move |sending| sending.plan(dry)).await
    }

    async fn sending<S, T>(
        self,
        stream: S,
        source: Arc<Source>,
        dry: Option<Dry>,
        options: SourceOptions,
        work: impl FnOnce(&Sending<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T, Stopped>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
        T: Send + 'static,
    {
        self.over(stream, move |link, progress, cancel| {
            let sending = Sending { link, source: &source, dry, options, progress, cancel };
            let ended = work(&sending);
            source.drop_cache();
            Ok(ended?)
        })
        .await
    }

    /// Makes the image at `landing` what the one at the other end of `stream` is.
    ///
    /// # Errors
    ///
    /// Whatever went wrong first, at either end, and what is kept of what had come by then.
    pub async fn receive<S>(
        self,
        stream: S,
        landing: Landing,
        options: TargetOptions,
    ) -> Result<Synced, Stopped>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        self.over(stream, move |link, progress, cancel| {
            land(link, &landing, options, progress, cancel)
        })
        .await
    }

    /// What [`receive`](Self::receive) would do.
    ///
    /// # Errors
    ///
    /// Whatever went wrong first, at either end.
    pub async fn plan_receive<S>(
        self,
        stream: S,
        landing: Landing,
        dry: Dry,
        options: TargetOptions,
    ) -> Result<CopyPlan, Stopped>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        self.over(stream, move |link, progress, cancel| {
            Ok(look(link, &landing, dry, options, progress, cancel)?)
        })
        .await
    }

    /// Has `asks` done with the directory at the other end of `stream`.
    pub(super) async fn ask<S>(
        self,
        stream: S,
        asks: Arc<Vec<Asked>>,
    ) -> Result<Vec<Answered>, Stopped>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        self.over(stream, move |link, _, _| Ok(keeping::ask(link, &asks)?)).await
    }

    /// Does with `files` what the other end of `stream` asks for; what writes, only for `rebuild`.
    pub(super) async fn keep<S>(
        self,
        stream: S,
        files: Files,
        rebuild: Option<Rebuild>,
    ) -> Result<u64, Stopped>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        self.over(stream, move |link, _, cancel| Ok(keeping::keep(link, &files, rebuild, cancel)?))
            .await
    }

    /// Does `work` on a thread that may block, and closes the link when it is done.
    async fn over<S, T>(
        self,
        stream: S,
        work: impl FnOnce(&Link, &Progress, &Cancel) -> Result<T, Stopped> + Send + 'static,
    ) -> Result<T, Stopped>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
        T: Send + 'static,
    {
        let Self { link, alias, progress, cancel } = self;
        let link = Link::new(stream, &link, alias, &cancel);
        let worked = tokio::task::spawn_blocking(move || {
            let _guard = link.guard();
            let (ended, kept) = match work(&link, &progress, &cancel) {
                Ok(ended) => (Ok(ended), Kept::Nothing),
                Err(Stopped { cause, kept }) => (Err(link.fail(*cause)), kept),
            };
            (link, ended, kept)
        });
        let (link, ended, kept) = worked
            .await
            .map_err(|error| Error::Runtime { source: std::io::Error::other(error) })?;
        link.close(ended).await.map_err(|cause| Stopped { cause: Box::new(cause), kept })
    }
}

fn land(
    link: &Link,
    landing: &Landing,
    options: TargetOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Synced, Stopped> {
    let offer = offer(link)?;
    let permissions = match landing.mode {
        Some(mode) => Permissions::Exact(mode),
        None => Permissions::Masked(offer.mode & 0o777),
    };
    let entered = landing.rebuild.map(|rebuild| rebuild.enter(&landing.path)).transpose();
    let _entered = entered.map_err(Error::Image)?;
    let (io, links, resume) = (landing.io, landing.links, !options.no_resume);
    let open = lacuna::TargetOptions { io, permissions, links, resume };
    // Of what is thrown away there may be much.
    let opened = link.in_call(|| Target::open(&landing.path, &open));
    let mut target = opened.map_err(Error::Image)?;
    let received = link.in_call(|| fit(&mut target, offer.size)).and_then(|()| {
        let receiving = Receiving::new(link, &target, &offer, options, progress, cancel)?;
        let received = receiving.run()?;
        receiving.commit()?;
        Ok(received)
    });
    match received {
        Ok(synced) => {
            // Whoever hears that it is done may come back at once.
            drop(target);
            // It is here to stay, whether the source hears of it or not.
            let _ = link.say(&Message::Done(synced.done()));
            Ok(synced)
        }
        Err(cause) => {
            let cause = Box::new(link.fail(cause));
            target.abandon();
            // There is no record of what is left: the next session compares.
            Err(Stopped { cause, kept: target.left() })
        }
    }
}

pub(super) fn offer(link: &Link) -> Result<Offer> {
    match link.recv()?.open(&link.pool)?.message()? {
        Message::Offer(offer) => Ok(offer),
        _ => Err(Error::malformed("something", "is no Offer")),
    }
}
