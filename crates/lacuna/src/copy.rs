//! Making one image on this machine equal to another: content and kinds.

mod compare;
mod plan;

use std::path::Path;

use crate::checksum_file;
use crate::error::{Error, Result};
use crate::extent::{KindBytes, Range};
use crate::layout::{LayoutOrigin, Pair};
use crate::open::IoMode;
use crate::progress::{Cancel, Progress};
use crate::reflink::{self, Reflink};
use crate::settle::{compared, settle};
use crate::source::Source;
use crate::stopped::Stopped;
use crate::target::{Permissions, Target, TargetOptions};
use crate::transfer::{Transfer, TransferOptions};
pub use compare::compare;
pub use plan::{CopyPlan, plan, plan_remote};

/// How to copy.
#[derive(Clone, Copy, Debug)]
pub struct CopyOptions {
    /// Direct or buffered, at the target.
    pub io: IoMode,
    /// Ranges that are copied at the same time.
    pub threads: usize,
    /// Whether data that the target lacks shares the source's space.
    pub reflink: Reflink,
    /// Permission bits of a new target, whatever the umask; those of the source, less the umask, when
    /// `None`.
    pub mode: Option<u32>,
    /// Go on from where an interrupted copy of the same source stopped; else what that left of a new
    /// target is thrown away.
    pub resume: bool,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            io: IoMode::default(),
            threads: 2,
            reflink: Reflink::default(),
            mode: None,
            resume: true,
        }
    }
}

/// What a copy did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CopyStats {
    /// Size of the source.
    pub size_bytes: u64,
    /// The kinds of the source.
    #[serde(flatten)]
    pub kinds: KindBytes,
    /// Read from the source.
    pub read_bytes: u64,
    /// Read from the target and compared.
    pub compared_bytes: u64,
    /// Written to the target.
    pub written_bytes: u64,
    /// Shared with the target instead of written.
    pub reflinked_bytes: u64,
    /// At the start of the image, taken over from an interrupted copy.
    pub resumed_bytes: u64,
    /// What a target device has behind the source's size, left alone.
    pub rest_bytes: u64,
    /// Which kinds the target can have.
    pub target_layout_from: LayoutOrigin,
}

/// Makes `target` equal to `source`: durable when this returns, to be repeated when it fails.
///
/// # Errors
///
/// Whatever can be wrong with either image, [`Error::Cancelled`], and [`Error::Changed`] when the
/// source does not stay as it is. What was done by then is in [`Stopped::kept`].
pub fn copy(
    source: &Source,
    target: &Path,
    options: &CopyOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<CopyStats, Stopped> {
    let mut target = open(source, target, options)?;
    progress.total_bytes.set(source.allocated_bytes()?);
    let resumed_bytes = resume(source, &target)?;
    let resized = target.resize(source.size());
    let (threads, reflink) = (options.threads.max(1), options.reflink);
    let transfer = TransferOptions { threads, reflink, resumed_bytes };
    let transfer = Transfer::new(source, &target, transfer, progress, cancel);
    let session = Session { source, target: &target, transfer: &transfer, cancel };
    let kinds = match resized.and_then(|()| session.run()) {
        Ok(kinds) => kinds,
        Err(cause) => return Err(session.stop(cause)),
    };
    let target_layout_from = match LayoutOrigin::of(target.image())
        .and_then(|origin| target.commit().map(|()| origin))
    {
        Ok(origin) => origin,
        Err(cause) => return Err(session.stop(cause)),
    };
    source.drop_cache();
    target.image().drop_cache();
    progress.finish();
    let size_bytes = source.size();
    Ok(CopyStats {
        size_bytes,
        kinds,
        read_bytes: progress.read_bytes.get(),
        compared_bytes: progress.compared_bytes.get(),
        written_bytes: progress.written_bytes.get(),
        reflinked_bytes: progress.reflinked_bytes.get(),
        resumed_bytes,
        rest_bytes: target.image().size() - size_bytes,
        target_layout_from,
    })
}

fn open(source: &Source, target: &Path, options: &CopyOptions) -> Result<Target> {
    let permissions = match options.mode {
        Some(mode) => Permissions::Exact(mode),
        None => Permissions::Masked(source.mode() & 0o777),
    };
    source.refuse_same(target)?;
    // It goes before the target is written.
    source.refuse_same(&checksum_file::path_of(target))?;
    let (io, resume) = (options.io, options.resume);
    let open = TargetOptions { io, permissions, resume, ..TargetOptions::default() };
    let target = Target::open(target, &open)?;
    let is_possible = || source.all(|image| reflink::is_possible(image, target.image()));
    let decided = reflink::decide(options.reflink, source.path(), target.path(), is_possible);
    decided.inspect_err(|_| target.abandon())?;
    Ok(target)
}

/// How much an interrupted copy of the same source has done; what it has recorded of another is void.
fn resume(source: &Source, target: &Target) -> Result<u64> {
    let resumed_bytes = target.resumable(source.stamp())?;
    if resumed_bytes == 0 {
        target.void_record()?;
    } else {
        tracing::info!(resumed_bytes, "going on where an interrupted copy stopped");
    }
    Ok(resumed_bytes)
}

/// One copy.
struct Session<'a> {
    source: &'a Source,
    target: &'a Target,
    transfer: &'a Transfer<'a>,
    cancel: &'a Cancel,
}

impl Session<'_> {
    /// Makes the target equal and durable, all but the commit. Returns the source's kinds.
    fn run(&self) -> Result<KindBytes> {
        let (origin, pairs) =
            compared(self.source, self.target.image(), Range::to(self.source.size()))?;
        let mut kinds = KindBytes::default();
        let count = |pair: &Result<Pair>| {
            if let Ok(pair) = pair {
                kinds.add(pair.left, pair.range.len());
            }
        };
        self.transfer.run(origin, pairs.inspect(count))?;
        self.target.image().sync()?;
        settle(self.source, self.target, self.cancel)?;
        self.source.check()?;
        Ok(kinds)
    }

    /// Saves what can be saved for the next try.
    fn stop(&self, cause: Error) -> Stopped {
        let useless = matches!(cause, Error::Changed { .. } | Error::KindsDiffer { .. })
            || self.source.is_device();
        let source = Some(self.source.stamp()).filter(|_| !useless);
        let kept = self.target.keep(&cause, source, self.transfer.reached());
        Stopped { cause, kept }
    }
}
