//! Sharing the space of one file with another instead of copying its bytes: FICLONERANGE.
//!
//! Only runs of `Data` may be cloned: XFS turns what is unwritten into a hole when it clones it.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ftruncate, open};
use rustix::io::Errno;
use rustix::ioctl::{self, Opcode, Setter};

use crate::beside::directory_of;
use crate::error::{Error, Result};
use crate::extent::{BLOCK, Range};
use crate::failpoint;
use crate::filesystem::{BTRFS, magic};
use crate::image::Image;

/// Whether to share space instead of copying bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reflink {
    /// Where the filesystem can, and the run is long enough to be worth it.
    #[default]
    Auto,
    /// As `Auto`, but fail where the filesystem cannot.
    Always,
    /// Copy.
    Never,
}

/// Shorter runs are copied: a clone costs as much as a few writes.
pub(crate) const SHORTEST: u64 = 64 << 10;

/// Longest run that one call clones, so that cancelling does not wait for long.
pub(crate) const LONGEST: u64 = 256 << 20;

/// `struct file_clone_range` of `linux/fs.h`.
#[repr(C)]
struct CloneRange {
    source: i64,
    source_offset: u64,
    source_length: u64,
    target_offset: u64,
}

const FICLONERANGE: Opcode = ioctl::opcode::write::<CloneRange>(0x94, 13);

/// Whether the filesystem can share space between the two at all.
pub(crate) fn is_possible(source: &Image, target: &Image) -> bool {
    !target.is_device() && may_clone(source, target.file())
}

/// Whether the filesystem can share the space of `source` with a file in `directory`, which would be
/// new.
pub(crate) fn is_possible_in(source: &Image, directory: &Path) -> bool {
    unnamed(directory).is_ok_and(|file| may_clone(source, &file))
}

/// Asks for a range past the end, which is no more than refused.
fn may_clone(source: &Image, target: &File) -> bool {
    let past_the_end = source.size().checked_next_multiple_of(BLOCK);
    let past_the_end = past_the_end.and_then(|end| Range::with_length(end + BLOCK, BLOCK));
    past_the_end.is_some_and(|range| {
        !source.is_device()
            && matches!(call(source.file(), target, range), Ok(()) | Err(Errno::INVAL))
    })
}

/// A file in `directory` without a name, which goes when it is closed.
fn unnamed(directory: &Path) -> rustix::io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(open(directory, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Whether space is shared, if it is to be and where it `is_possible`, with the image that will
/// stand at `target`.
///
/// # Errors
///
/// [`Error::NotReflinked`] when it is to be at all costs and cannot.
pub(crate) fn decide(
    reflink: Reflink,
    source: &Path,
    target: &Path,
    is_possible: impl FnOnce() -> bool,
) -> Result<bool> {
    match (reflink, reflink != Reflink::Never && is_possible()) {
        (Reflink::Always, false) => Err(refused(source, target)),
        (_, shared) => Ok(shared),
    }
}

/// That `target` cannot share the space of `source`.
pub(crate) fn refused(source: &Path, target: &Path) -> Error {
    Error::NotReflinked { source_path: source.to_owned(), target: target.to_owned() }
}

/// Makes `range` of `target` share the space of the same range of `source`; false where that is
/// refused and the range is to be copied.
pub(crate) fn clone(source: &Image, target: &Image, range: Range) -> Result<bool> {
    let cloned = failpoint::pass("image.clone").and_then(|()| {
        match call(source.file(), target.file(), range) {
            Ok(()) => Ok(true),
            Err(
                Errno::INVAL
                | Errno::XDEV
                | Errno::OPNOTSUPP
                | Errno::NOTTY
                | Errno::TXTBSY
                | Errno::PERM,
            ) => Ok(false),
            Err(errno) => Err(io::Error::from(errno)),
        }
    });
    cloned.map_err(|error| Error::io_at("clone into", target.path(), range.start(), error))
}

/// Lets `target`, on btrfs, grow to `size` with nothing from `start` on: there, a last block that is
/// partial and a hole becomes data when the size is set, but not when the hole is a clone. False on
/// other filesystems, and where that is refused.
pub(crate) fn grow(target: &Image, start: u64, size: u64) -> bool {
    let grown = || {
        if magic(target.file())? != BTRFS {
            return Err(Errno::OPNOTSUPP);
        }
        let hole = unnamed(directory_of(target.path()))?;
        ftruncate(&hole, size)?;
        call(&hole, target.file(), Range::new(start, size).ok_or(Errno::INVAL)?)
    };
    grown().is_ok()
}

fn call(source: &File, target: &File, range: Range) -> rustix::io::Result<()> {
    let request = CloneRange {
        source: source.as_raw_fd().into(),
        source_offset: range.start(),
        source_length: range.len(),
        target_offset: range.start(),
    };
    // SAFETY: FICLONERANGE reads a `struct file_clone_range`, which `CloneRange` is; both
    // descriptors are open for as long as the call takes.
    unsafe { ioctl::ioctl(target, Setter::<FICLONERANGE, CloneRange>::new(request)) }
}
