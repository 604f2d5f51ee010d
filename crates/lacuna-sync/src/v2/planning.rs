//! Sessions in which nothing is written: what one that writes would do.

use std::path::Path;
use std::sync::Arc;

use lacuna::copy::CopyPlan;
use lacuna::{Cancel, Counter, ImageOptions, KindBytes, PlannedTarget, Progress, Source};
pub use lacuna_wire::Dry;
use lacuna_wire::{ClientHello, Message, Planned, Role};
use tokio::io::{AsyncRead, AsyncWrite};

use super::client::{Line, Remote, SyncOptions, again, dial, explain, hello};
use super::link::{Link, LinkOptions};
use super::session::{Landing, offer, on_thread};
use super::source::{Sending, SourceOptions};
use super::target::{Looking, TargetOptions};
use crate::error::{Error, Result};
use crate::runtime::{self, unless_cancelled};

/// What making the image at `remote` what the one at `source` is would do.
///
/// # Errors
///
/// What would be wrong at either end, as far as that shows without writing.
pub fn plan_push(
    source: &Path,
    remote: &Remote,
    dry: Dry,
    options: &SyncOptions,
    progress: &Arc<Progress>,
    cancel: &Cancel,
) -> Result<CopyPlan> {
    let image = ImageOptions { io: options.io, ..ImageOptions::default() };
    let source = Arc::new(Source::open(source, &image)?);
    let wire = Arc::new(Counter::default());
    let hello = ClientHello { dry: Some(dry), ..hello(remote, options, Role::Source) };
    let plan = runtime::block_on(again(options, progress, cancel, || async {
        let dialled = dial(remote, &hello, options, &wire, cancel);
        let Line { stream, zstd, running } = unless_cancelled(cancel, dialled).await?;
        let how = SourceOptions { threads: options.threads, zstd: options.zstd.filter(|_| zstd) };
        let (source, progress) = (source.clone(), progress.clone());
        let link = options.link.clone();
        match plan_send(stream, source, dry, how, link, progress, cancel.clone()).await {
            Ok(plan) => Ok(plan),
            Err(error) => Err(explain(running, error, cancel).await),
        }
    }))?;
    progress.finish();
    Ok(plan)
}

/// What making the image at `landing` what the one at `remote` is would do.
///
/// # Errors
///
/// Those of [`plan_push`].
pub fn plan_pull(
    remote: &Remote,
    landing: &Landing,
    dry: Dry,
    options: &SyncOptions,
    progress: &Arc<Progress>,
    cancel: &Cancel,
) -> Result<CopyPlan> {
    let wire = Arc::new(Counter::default());
    let hello = ClientHello { dry: Some(dry), ..hello(remote, options, Role::Target) };
    let how = TargetOptions { threads: options.threads, ..TargetOptions::default() };
    runtime::block_on(again(options, progress, cancel, || async {
        let dialled = dial(remote, &hello, options, &wire, cancel);
        let Line { stream, running, .. } = unless_cancelled(cancel, dialled).await?;
        let (landing, progress) = (landing.clone(), progress.clone());
        let link = options.link.clone();
        match plan_receive(stream, landing, dry, how, link, progress, cancel.clone()).await {
            Ok(plan) => Ok(plan),
            Err(error) => Err(explain(running, error, cancel).await),
        }
    }))
}

/// What making the image at the other end of `stream` what `source` is would do.
///
/// # Errors
///
/// Whatever went wrong first, at either end.
pub async fn plan_send<S>(
    stream: S,
    source: Arc<Source>,
    dry: Dry,
    options: SourceOptions,
    link: LinkOptions,
    progress: Arc<Progress>,
    cancel: Cancel,
) -> Result<CopyPlan>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let link = Link::new(stream, &link, &cancel);
    let (link, plan) = on_thread(move || {
        let (source, progress, cancel) = (&*source, &*progress, &cancel);
        let sending = Sending { link: &link, source, dry: Some(dry), options, progress, cancel };
        let plan = sending.plan(dry).map_err(|error| link.fail(error));
        source.image().drop_cache();
        (link, plan)
    })
    .await?;
    link.close(plan).await
}

/// What making the image at `landing` what the one at the other end of `stream` is would do.
///
/// # Errors
///
/// Whatever went wrong first, at either end.
pub async fn plan_receive<S>(
    stream: S,
    landing: Landing,
    dry: Dry,
    options: TargetOptions,
    link: LinkOptions,
    progress: Arc<Progress>,
    cancel: Cancel,
) -> Result<CopyPlan>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let link = Link::new(stream, &link, &cancel);
    let (link, plan) = on_thread(move || {
        let plan = look(&link, &landing, dry, options.threads, &progress, &cancel);
        let plan = plan.map_err(|error| link.fail(error));
        (link, plan)
    })
    .await?;
    link.close(plan).await
}

fn look(
    link: &Link,
    landing: &Landing,
    dry: Dry,
    threads: usize,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<CopyPlan> {
    let offer = offer(link)?;
    let target = PlannedTarget::open(&landing.path, landing.io, landing.links);
    let mut target = target.map_err(Error::Image)?;
    target.lock()?;
    if dry == Dry::Compare {
        target.watch()?;
    }
    let plan = Looking::new(link, &target, dry, threads, &offer, progress, cancel)?.run()?;
    if let Some(image) = target.image() {
        image.drop_cache();
    }
    // Whoever hears of the end finds nobody in the way.
    drop(target);
    link.say(&Message::Planned(planned(&plan)))?;
    progress.finish();
    Ok(plan)
}

/// `plan` as the target tells it.
fn planned(plan: &CopyPlan) -> Planned {
    Planned {
        read: plan.read_bytes,
        compared: plan.compared_bytes,
        written: plan.written_bytes_max,
        cleared: plan.cleared_bytes,
        needed: plan.needed_bytes,
        free: plan.free_bytes,
        rest: plan.rest_bytes.unwrap_or(0),
        exists: plan.target_exists == Some(true),
    }
}

/// What the target has told, of a source of so many bytes and these kinds.
pub(super) fn plan_of(planned: &Planned, dry: Dry, size_bytes: u64, kinds: KindBytes) -> CopyPlan {
    CopyPlan {
        size_bytes,
        kinds,
        read_bytes: planned.read,
        compared_bytes: planned.compared,
        written_bytes_max: planned.written,
        written_bytes: (dry == Dry::Compare).then_some(planned.written),
        cleared_bytes: planned.cleared,
        needed_bytes: planned.needed,
        free_bytes: planned.free,
        // It is a device of which the free space is not told.
        rest_bytes: planned.free.is_none().then_some(planned.rest),
        target_exists: Some(planned.exists),
        ..CopyPlan::default()
    }
}
