//! Sessions in which nothing is written: what one that writes would do.

use lacuna::copy::CopyPlan;
use lacuna::{Cancel, KindBytes, PlannedTarget, Progress};
use lacuna_wire::{Dry, Message, Planned};

use super::link::Link;
use super::session::{Landing, offer};
use super::target::{Looking, TargetOptions};
use crate::error::{Error, Result};

/// What making the image at `landing` what the one at the other end of `link` is would do.
pub(super) fn look(
    link: &Link,
    landing: &Landing,
    dry: Dry,
    options: TargetOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<CopyPlan> {
    let offer = offer(link)?;
    let (io, links, resume) = (landing.io, landing.links, !options.no_resume);
    let open = lacuna::TargetOptions { io, links, resume, ..lacuna::TargetOptions::default() };
    let mut target = PlannedTarget::open(&landing.path, &open).map_err(Error::Image)?;
    target.lock()?;
    if dry == Dry::Compare {
        target.watch()?;
    }
    let plan =
        Looking::new(link, &target, dry, options.threads, &offer, progress, cancel)?.run()?;
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
