//! The last walk before a target is called done: are its kinds those of the source?
//!
//! Filesystems allocate more than they are asked to (an XFS extent-size hint, ext4 writing zeros
//! around a small write into an unwritten extent), so the layout that counts is the one at the end.

use crate::aligned_buf::AlignedBuf;
use crate::error::{Error, Result};
use crate::extent::{Extent, Kind, Range};
use crate::image::{Image, LONGEST_CLEAR};
use crate::layout::{Layout, LayoutOptions, LayoutOrigin, Pair, pairs, rounded};
use crate::progress::Cancel;
use crate::source::Source;
use crate::target::Target;

/// The kind that a target whose layout comes from `origin` shows where `kind` was reproduced.
pub fn held_as(kind: Kind, origin: LayoutOrigin) -> Kind {
    match (origin, kind) {
        // A device has no kinds to show; what is no data there is made zeros.
        (LayoutOrigin::Fiemap | LayoutOrigin::Device, kind) => kind,
        (LayoutOrigin::SeekHole, Kind::Hole) => Kind::Hole,
        (LayoutOrigin::SeekHole, _) => Kind::Data,
    }
}

/// Both layouts of `range` side by side in the target's unit of allocation. Past its end, the target
/// has the hole that it gets when it grows; its last block is a whole one by then.
pub(crate) fn compared<'a>(
    source: &'a Source,
    target: &'a Image,
    range: Range,
) -> Result<(LayoutOrigin, impl Iterator<Item = Result<Pair>> + 'a)> {
    let gained = range.split_at(target.size()).1;
    let gained = Some(Extent { range: gained, kind: Kind::Hole }).filter(|_| !gained.is_empty());
    let range = Some(range);
    let unit = target.allocation_unit();
    let left = source.layout(&LayoutOptions { range, flush: true })?;
    let right = Layout::new(target, &LayoutOptions { range, flush: true })?;
    let origin = right.origin();
    let right = right.chain(gained.map(Ok));
    let pairs = pairs(rounded(left, unit), rounded(right, unit));
    Ok((origin, pairs))
}

/// Makes the kinds of `target` those of `source`; see [`mend`]. All content must be durable before.
pub(crate) fn settle(source: &Source, target: &Target, cancel: &Cancel) -> Result<()> {
    mend(target, cancel, || {
        let (origin, pairs) = compared(source, target.image(), Range::to(source.size()))?;
        let held = move |pair: Pair| Pair { left: held_as(pair.left, origin), ..pair };
        Ok(pairs.map(move |pair| pair.map(held)))
    })
}

/// Bytes read at a time.
const PIECE: u64 = 64 << 10;

/// In each of the `pairs`, `left` is wanted and `right` is what the target has: punches what should
/// be a hole, makes unwritten what should be, but neither where there are other bytes than zeros;
/// fails when the kinds differ all the same. The pairs are walked again after anything was mended. A
/// device has no kinds to mend.
///
/// # Errors
///
/// [`Error::KindsDiffer`], or the system's.
pub fn mend<I: Iterator<Item = Result<Pair>>>(
    target: &Target,
    cancel: &Cancel,
    pairs: impl Fn() -> Result<I>,
) -> Result<()> {
    if target.image().is_device() || !mend_once(target, cancel, pairs()?)? {
        return Ok(());
    }
    target.image().sync()?;
    for pair in pairs()? {
        cancel.check()?;
        let pair = pair?;
        if pair.left != pair.right {
            return Err(differs(target, &pair));
        }
    }
    Ok(())
}

/// The same, of a file, without the second walk, and without a sync; whether anything was mended.
///
/// # Errors
///
/// Those of [`mend`].
pub fn mend_once(
    target: &Target,
    cancel: &Cancel,
    pairs: impl Iterator<Item = Result<Pair>>,
) -> Result<bool> {
    let (mut mended, mut buf) = (false, AlignedBuf::new(PIECE as usize));
    for pair in pairs {
        cancel.check()?;
        let pair = pair?;
        if pair.left != pair.right {
            mend_pair(target, &pair, &mut buf, cancel)?;
            mended = true;
        }
    }
    Ok(mended)
}

/// A pair whose kinds differ.
fn mend_pair(target: &Target, pair: &Pair, buf: &mut AlignedBuf, cancel: &Cancel) -> Result<()> {
    // Filesystems add zeros; whatever else stands there is somebody's.
    if pair.right == Kind::Data && !is_zeros(target.image(), pair.range, buf, cancel)? {
        return Err(differs(target, pair));
    }
    for piece in pair.range.pieces(LONGEST_CLEAR) {
        cancel.check()?;
        match pair.left {
            Kind::Hole => target.punch(piece)?,
            Kind::Zero => target.zero_range(piece)?,
            Kind::Data => return Err(differs(target, pair)),
        }
    }
    Ok(())
}

/// Whether all bytes of `range` are zero.
fn is_zeros(image: &Image, range: Range, buf: &mut AlignedBuf, cancel: &Cancel) -> Result<bool> {
    for piece in range.pieces(PIECE) {
        cancel.check()?;
        let bytes = &mut buf[..piece.len() as usize];
        image.read_at(bytes, piece.start())?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn differs(target: &Target, pair: &Pair) -> Error {
    Error::KindsDiffer {
        path: target.path().to_owned(),
        range: pair.range,
        expected: pair.left,
        found: pair.right,
    }
}
