//! Making one image on this machine equal to another: content and kinds.

mod frontier;
mod jobs;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rustix::fs::statvfs;

use crate::error::{Error, Result};
use crate::extent::Kind;
use crate::image::{Image, ImageOptions, IoMode};
use crate::layout::{Layout, LayoutOptions, LayoutSource};
use crate::progress::{Cancel, Progress};
use crate::settle::{compared, held_as, settle};
use crate::source::Source;
use crate::target::{Permissions, Target, TargetOptions};
use frontier::{Checkpoint, Frontier};
use jobs::{Job, JobBuilder};
use worker::Worker;

/// How to copy.
#[derive(Clone, Copy, Debug)]
pub struct CopyOptions {
    /// Direct or buffered, at both ends.
    pub io: IoMode,
    /// Ranges that are copied at the same time.
    pub threads: usize,
    /// Permission bits of a new target; those of the source, less the umask, when `None`.
    pub mode: Option<u32>,
    /// Go on from where an interrupted copy of the same source stopped.
    pub resume: bool,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self { io: IoMode::default(), threads: 2, mode: None, resume: true }
    }
}

/// What a copy did. The kinds are those of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CopyStats {
    /// Size of the source.
    pub size_bytes: u64,
    /// Allocated and written.
    pub data_bytes: u64,
    /// Allocated and unwritten.
    pub zero_bytes: u64,
    /// Not allocated.
    pub hole_bytes: u64,
    /// Read from the source.
    pub read_bytes: u64,
    /// Read from the target and compared.
    pub compared_bytes: u64,
    /// Written to the target.
    pub written_bytes: u64,
    /// At the start of the image, taken over from an interrupted copy.
    pub resumed_bytes: u64,
    /// What a target device has behind the source's size, left alone.
    pub rest_bytes: u64,
}

/// What a copy would do, from the layouts alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CopyPlan {
    /// Size of the source.
    pub size_bytes: u64,
    /// Allocated and written.
    pub data_bytes: u64,
    /// Allocated and unwritten.
    pub zero_bytes: u64,
    /// Not allocated.
    pub hole_bytes: u64,
    /// To be read from the source.
    pub read_bytes: u64,
    /// To be read from the target and compared.
    pub compared_bytes: u64,
    /// To be written at most: what is equal is not.
    pub written_bytes_max: u64,
    /// To be made holes, or zeros.
    pub cleared_bytes: u64,
    /// Space that the target takes more than now.
    pub needed_bytes: u64,
    /// Space that is free for it.
    pub free_bytes: u64,
    /// Whether the target exists.
    pub target_exists: bool,
}

/// What copying `source` to `target` would do. Writes nothing.
pub fn plan(source: &Path, target: &Path, options: &CopyOptions) -> Result<CopyPlan> {
    let directory = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let space = statvfs(directory)
        .map_err(|error| Error::io("stat the filesystem of", directory, error))?;
    let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
    if !target.exists() {
        return Ok(CopyPlan { free_bytes, ..plan_new(source, options)? });
    }
    let source = Source::open(source, options.io)?;
    source.refuse_same(target)?;
    let target = Image::open(target, &ImageOptions::default())?;
    let size_bytes = source.image().size();
    let mut plan = CopyPlan { size_bytes, free_bytes, target_exists: true, ..CopyPlan::default() };
    let (holds, pairs) = compared(source.image(), &target)?;
    for pair in pairs {
        let pair = pair?;
        plan.count(pair.left, held_as(pair.left, holds), pair.right, pair.range.len());
    }
    Ok(plan)
}

/// What copying `source` to a target that does not exist would do, wherever that is.
pub fn plan_new(source: &Path, options: &CopyOptions) -> Result<CopyPlan> {
    let source = Source::open(source, options.io)?;
    let mut plan = CopyPlan { size_bytes: source.image().size(), ..CopyPlan::default() };
    for extent in Layout::new(source.image(), &LayoutOptions::default())? {
        let extent = extent?;
        plan.count(extent.kind, extent.kind, Kind::Hole, extent.range.len());
    }
    Ok(plan)
}

impl CopyPlan {
    fn count(&mut self, kind: Kind, wanted: Kind, have: Kind, bytes: u64) {
        match kind {
            Kind::Data => self.data_bytes += bytes,
            Kind::Zero => self.zero_bytes += bytes,
            Kind::Hole => self.hole_bytes += bytes,
        }
        match (wanted, have) {
            (Kind::Data, Kind::Data) => {
                self.read_bytes += bytes;
                self.compared_bytes += bytes;
                self.written_bytes_max += bytes;
            }
            (Kind::Data, _) => {
                self.read_bytes += bytes;
                self.written_bytes_max += bytes;
            }
            (wanted, have) if wanted != have => self.cleared_bytes += bytes,
            _ => {}
        }
        if wanted.is_allocated() && !have.is_allocated() {
            self.needed_bytes += bytes;
        }
    }
}

/// Makes `target` equal to `source`: durable when this returns, resumable when it fails.
pub fn copy(
    source: &Path,
    target: &Path,
    options: &CopyOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<CopyStats> {
    let source = Source::open(source, options.io)?;
    let permissions = match options.mode {
        Some(mode) => Permissions::Exact(mode),
        None => Permissions::Masked(source.image().mode() & 0o777),
    };
    source.refuse_same(target)?;
    let mut target = Target::open(target, &TargetOptions { io: options.io, permissions })?;
    progress.total_bytes.set(source.image().allocated_bytes()?);
    let resumed = match options.resume {
        true => target.resumable(source.stamp())?,
        false => 0,
    };
    if resumed == 0 {
        target.void_record()?;
    }
    target.resize(source.image().size())?;
    let mut stats = transfer(&source, &target, options, resumed, progress, cancel)?;
    target.image().sync()?;
    settle(source.image(), &target, cancel)?;
    source.check()?;
    let image = target.commit()?;
    source.image().drop_cache();
    image.drop_cache();
    stats.read_bytes = progress.read_bytes.get();
    stats.compared_bytes = progress.compared_bytes.get();
    stats.written_bytes = progress.written_bytes.get();
    stats.resumed_bytes = resumed;
    stats.rest_bytes = image.size() - stats.size_bytes;
    Ok(stats)
}

/// What the threads of one copy share.
struct Session<'a> {
    source: &'a Source,
    target: &'a Target,
    holds: LayoutSource,
    frontier: Frontier,
    checkpoint: Mutex<Checkpoint>,
    failure: Mutex<Option<Error>>,
    progress: &'a Progress,
    cancel: &'a Cancel,
}

/// Copies what differs from `resumed` on, and counts the source's kinds.
fn transfer(
    source: &Source,
    target: &Target,
    options: &CopyOptions,
    resumed: u64,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<CopyStats> {
    let (holds, pairs) = compared(source.image(), target.image())?;
    let session = Session {
        source,
        target,
        holds,
        frontier: Frontier::new(resumed),
        checkpoint: Mutex::new(Checkpoint { at: Instant::now(), written: 0 }),
        failure: Mutex::new(None),
        progress,
        cancel,
    };
    let threads = options.threads.max(1);
    let (sender, receiver) = sync_channel::<Job>(threads);
    let receiver = Mutex::new(receiver);
    let mut stats = CopyStats { size_bytes: source.image().size(), ..CopyStats::default() };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| session.work(&receiver));
        }
        let mut builder = JobBuilder::new(&session.frontier, sender, resumed);
        for pair in pairs {
            let added = pair.and_then(|pair| {
                stats.count(pair.left, pair.range.len());
                session.check()?;
                Ok(builder.add(pair, held_as(pair.left, holds)))
            });
            match added {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return session.fail(error),
            }
        }
        builder.finish();
    });
    match session.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(stats),
    }
}

impl CopyStats {
    fn count(&mut self, kind: Kind, bytes: u64) {
        match kind {
            Kind::Data => self.data_bytes += bytes,
            Kind::Zero => self.zero_bytes += bytes,
            Kind::Hole => self.hole_bytes += bytes,
        }
    }
}

impl Session<'_> {
    /// Takes jobs until there are none or something failed.
    fn work(&self, jobs: &Mutex<Receiver<Job>>) {
        let mut worker = Worker::new(self);
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return };
            // After a failure the rest is only taken off the queue, so that the walk does not block.
            let done = self.check().and_then(|()| worker.run(&job));
            match done {
                Ok(()) => self.frontier.finished(&job),
                Err(error) => self.fail(error),
            }
        }
    }

    /// Whether to go on. The error of a failed thread stays with it; here it is `Cancelled`.
    fn check(&self) -> Result<()> {
        self.cancel.check()?;
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }

    /// Keeps the first error.
    fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// Where an interrupted copy to a new target keeps what it has; for messages.
pub fn leftovers(target: &Path) -> Option<PathBuf> {
    let data = crate::beside::hidden(target, ".lacuna-data");
    data.exists().then_some(data)
}
