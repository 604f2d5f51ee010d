//! What a fold would do, from the layouts alone.

use rustix::fs::{StatVfs, fstatfs, fstatvfs};

use super::{FoldOptions, unseen};
use crate::error::{Error, Result};
use crate::extent::{BLOCK, Kind, KindBytes, Range};
use crate::image::Image;
use crate::layout::{Layout, LayoutOptions, Pair, joined, pairs, rounded, shared};
use crate::progress::Cancel;
use crate::reflink::{self, Reflink};
use crate::settle::compared;

/// Of what a fold with `free` writes, so much must fit at least.
const ROUND_MIN: u64 = 1 << 20;

/// Of what a fold with `free` writes, so much goes before the child gives it up, at most.
const ROUND_MAX: u64 = 64 << 20;

const EXT4: u32 = 0xef53;
const BTRFS: u32 = 0x9123_683e;
const BCACHEFS: u32 = 0xca45_1a4e;

/// What a fold would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct FoldPlan {
    /// Size of the child, and of the parent afterwards.
    pub size_bytes: u64,
    /// The kinds of the child.
    #[serde(flatten)]
    pub kinds: KindBytes,
    /// By which the parent grows.
    pub grown_bytes: u64,
    /// Data whose space would be shared.
    pub reflink_bytes: u64,
    /// Data that would be copied.
    pub copy_bytes: u64,
    /// To be made unwritten in the parent.
    pub zero_range_bytes: u64,
    /// Space that the fold takes, at its height.
    pub needed_bytes: u64,
    /// Space that is free for it; not known of a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
}

impl FoldPlan {
    /// For two images that fit together.
    pub(super) fn of(
        child: &Image,
        parent: &Image,
        options: &FoldOptions,
        cancel: &Cancel,
    ) -> Result<Self> {
        let clones = options.reflink != Reflink::Never && reflink::is_possible(child, parent);
        if options.reflink == Reflink::Always && !clones {
            return Err(Error::NotReflinked {
                source_path: child.path().to_owned(),
                target: parent.path().to_owned(),
            });
        }
        let mut plan = Self {
            size_bytes: child.size(),
            grown_bytes: child.size().saturating_sub(parent.size()),
            free_bytes: match parent.is_device() {
                true => None,
                false => Some(free_bytes(parent)?),
            },
            ..Self::default()
        };
        plan.count_moves(child, parent, clones, cancel)?;
        plan.count_space(child, parent, clones, cancel)?;
        if options.free {
            plan.needed_bytes = plan.needed_bytes.min(ROUND_MIN);
        }
        Ok(plan)
    }

    /// What is shared, copied, or made unwritten.
    fn count_moves(
        &mut self,
        child: &Image,
        parent: &Image,
        clones: bool,
        cancel: &Cancel,
    ) -> Result<()> {
        for pair in compared(child, parent, Range::to(child.size()))?.1 {
            let pair = pair?;
            cancel.check()?;
            self.kinds.add(pair.left, pair.range.len());
            if pair.left == Kind::Zero && pair.right != Kind::Zero {
                self.zero_range_bytes += pair.range.len();
            }
        }
        for run in runs(child, parent)? {
            let bytes = run?.len();
            *match clones && bytes >= reflink::SHORTEST {
                true => &mut self.reflink_bytes,
                false => &mut self.copy_bytes,
            } += bytes;
        }
        Ok(())
    }

    /// What takes new space: what the parent has nowhere, what it shares with another file, and all
    /// of it where the filesystem never writes over what is there; but not what is cloned.
    fn count_space(
        &mut self,
        child: &Image,
        parent: &Image,
        clones: bool,
        cancel: &Cancel,
    ) -> Result<()> {
        let (rewrites, all) = (rewrites(parent)?, Range::to(child.size()));
        let mut is_cloned = Runs { runs: runs(child, parent)?, current: None, clones };
        for pair in compared(child, parent, all)?.1 {
            let pair = pair?;
            cancel.check()?;
            let is_new = match pair.left {
                Kind::Hole => false,
                Kind::Zero if pair.right == Kind::Zero => false,
                _ => rewrites || pair.right == Kind::Hole,
            };
            if is_new && !is_cloned.has(&pair)? {
                self.needed_bytes += pair.range.len();
            }
        }
        if parent.is_device() || rewrites {
            return Ok(());
        }
        let (unit, range) = (parent.allocation_unit(), Some(all));
        let options = LayoutOptions { range, flush: false };
        let layout = rounded(Layout::new(child, &options)?, unit);
        let mut is_cloned = Runs { runs: runs(child, parent)?, current: None, clones };
        for pair in pairs(layout, rounded(shared(parent)?, unit)) {
            let pair = pair?;
            cancel.check()?;
            if pair.left.is_allocated() && pair.right == Kind::Data && !is_cloned.has(&pair)? {
                self.needed_bytes += pair.range.len();
            }
        }
        Ok(())
    }

    /// Whether there is room for it, as far as that is known.
    pub fn fits(&self) -> bool {
        self.free_bytes.is_none_or(|free| self.needed_bytes <= free)
    }

    /// Fails when it cannot fit.
    pub(super) fn check_space(&self, parent: &Image) -> Result<()> {
        match self.free_bytes.filter(|_| !self.fits()) {
            Some(free) => Err(Error::NoSpace {
                path: parent.path().to_owned(),
                needed: self.needed_bytes,
                free,
            }),
            None => Ok(()),
        }
    }
}

/// The runs of data that are cloned or copied as one.
fn runs<'a>(
    child: &'a Image,
    parent: &'a Image,
) -> Result<impl Iterator<Item = Result<Range>> + 'a> {
    let pairs = compared(child, parent, Range::to(child.size()))?.1;
    let data = pairs.filter(|pair| !pair.as_ref().is_ok_and(|pair| pair.left != Kind::Data));
    Ok(joined(data.map(|pair| pair.map(unseen))).map(|run| Ok(run?.range)))
}

/// The runs beside pairs of the same layout, both in order.
struct Runs<I> {
    runs: I,
    current: Option<Range>,
    clones: bool,
}

impl<I: Iterator<Item = Result<Range>>> Runs<I> {
    /// Whether `pair` is a part of a run that is cloned.
    fn has(&mut self, pair: &Pair) -> Result<bool> {
        if !self.clones || pair.left != Kind::Data {
            return Ok(false);
        }
        while self.current.is_none_or(|run| run.end() <= pair.range.start()) {
            match self.runs.next().transpose()? {
                None => return Ok(false),
                run => self.current = run,
            }
        }
        Ok(self.current.is_some_and(|run| run.len() >= reflink::SHORTEST))
    }
}

/// How much a fold with `free` is to write before the child gives it up: half of what is free, in
/// whole blocks, since a part of a block cannot be given up.
pub(super) fn round_bytes(parent: &Image) -> Result<u64> {
    Ok((free_bytes(parent)? / 2).clamp(ROUND_MIN, ROUND_MAX) & !(BLOCK - 1))
}

/// What this user may still allocate on the filesystem of `image`.
fn free_bytes(image: &Image) -> Result<u64> {
    let space = fstatvfs(image.file())
        .map_err(|errno| Error::io("stat the filesystem of", image.path(), errno))?;
    let may_all = rustix::process::geteuid().is_root() && magic(image)? == EXT4;
    let blocks = match may_all {
        true => space.f_bfree.saturating_sub(kept_from_root(&space)),
        false => space.f_bavail,
    };
    Ok(blocks.saturating_mul(space.f_frsize))
}

/// Blocks that ext4 keeps for itself, though it counts them as free: a fiftieth of all, at most 4096.
/// What `statvfs` calls all is less than that, by what the filesystem's own tables take.
fn kept_from_root(space: &StatVfs) -> u64 {
    (space.f_blocks / 40).min(4096).min(space.f_bfree.saturating_sub(space.f_bavail))
}

/// Whether the filesystem never writes over what is there: btrfs, bcachefs.
fn rewrites(image: &Image) -> Result<bool> {
    Ok(matches!(magic(image)?, BTRFS | BCACHEFS))
}

/// What kind of filesystem `image` is on, by `linux/magic.h`.
fn magic(image: &Image) -> Result<u32> {
    let stat = fstatfs(image.file())
        .map_err(|errno| Error::io("stat the filesystem of", image.path(), errno))?;
    Ok(stat.f_type as u32)
}
