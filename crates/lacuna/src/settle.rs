//! The last walk before a target is called done: are its kinds those of the source?
//!
//! Filesystems allocate more than they are asked to (an XFS extent-size hint, ext4 writing zeros
//! around a small write into an unwritten extent), so the layout that counts is the one at the end.

use crate::error::{Error, Result};
use crate::extent::Kind;
use crate::image::Image;
use crate::layout::{Layout, LayoutOptions, LayoutOrigin, Pair, pairs, rounded};
use crate::progress::Cancel;
use crate::target::Target;

/// The kind that a target whose layout comes from `origin` shows where `kind` was reproduced.
pub(crate) fn held_as(kind: Kind, origin: LayoutOrigin) -> Kind {
    match (origin, kind) {
        // A device has no kinds to show; what is no data there is made zeros.
        (LayoutOrigin::Fiemap | LayoutOrigin::Device, kind) => kind,
        (LayoutOrigin::SeekHole, Kind::Hole) => Kind::Hole,
        (LayoutOrigin::SeekHole, _) => Kind::Data,
    }
}

/// Both layouts side by side in the target's unit of allocation, up to the source's size, the source's
/// kinds as the target can hold them.
pub(crate) fn compared<'a>(
    source: &'a Image,
    target: &'a Image,
) -> Result<(LayoutOrigin, impl Iterator<Item = Result<Pair>> + 'a)> {
    let range = Some(crate::extent::Range::to(source.size()));
    let unit = target.allocation_unit();
    let left = Layout::new(source, &LayoutOptions { range, flush: true })?;
    let right = Layout::new(target, &LayoutOptions { range, flush: true })?;
    let origin = right.origin();
    let pairs = pairs(rounded(left, unit), rounded(right, unit));
    Ok((origin, pairs))
}

/// Punches what the source does not have, makes unwritten what the source has unwritten, and fails
/// when the kinds differ all the same. All content must be durable before.
pub(crate) fn settle(source: &Image, target: &Target, cancel: &Cancel) -> Result<()> {
    if target.image().is_device() {
        return Ok(());
    }
    let mut mended = false;
    let (origin, pairs) = compared(source, target.image())?;
    for pair in pairs {
        cancel.check()?;
        let pair = pair?;
        match held_as(pair.left, origin) {
            wanted if wanted == pair.right => continue,
            Kind::Hole => target.punch(pair.range)?,
            Kind::Zero => target.zero_range(pair.range)?,
            Kind::Data => return Err(differs(target, &pair, Kind::Data)),
        }
        mended = true;
    }
    if !mended {
        return Ok(());
    }
    target.image().sync()?;
    let (origin, pairs) = compared(source, target.image())?;
    for pair in pairs {
        cancel.check()?;
        let pair = pair?;
        let wanted = held_as(pair.left, origin);
        if wanted != pair.right {
            return Err(differs(target, &pair, wanted));
        }
    }
    Ok(())
}

fn differs(target: &Target, pair: &Pair, expected: Kind) -> Error {
    Error::KindsDiffer {
        path: target.path().to_owned(),
        range: pair.range,
        expected,
        found: pair.right,
    }
}
