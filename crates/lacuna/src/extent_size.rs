//! The extent-size hint of a file: XFS allocates for it in units of so many bytes, and so around what
//! is written into a hole.
#![allow(unsafe_code)]

use std::fs::File;

use rustix::ioctl::{self, Getter, Opcode};

use crate::extent::{BLOCK, MAX_OFFSET, Range};

/// `struct fsxattr` of `linux/fs.h`.
#[repr(C)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    reserved: [u8; 8],
}

const FS_IOC_FSGETXATTR: Opcode = ioctl::opcode::read::<Attributes>(b'X', 31);

/// `FS_XFLAG_EXTSIZE` of `linux/fs.h`.
const HAS_EXTENT_SIZE: u32 = 0x800;

/// In bytes; 0 where there is none, or no such thing.
pub(crate) fn hint_of(file: &File) -> u64 {
    // SAFETY: FS_IOC_FSGETXATTR fills a `struct fsxattr`, which `Attributes` is: any bits are a valid
    // one.
    let got = unsafe { ioctl::ioctl(file, Getter::<FS_IOC_FSGETXATTR, Attributes>::new()) };
    match got {
        Ok(attributes) if attributes.flags & HAS_EXTENT_SIZE != 0 => {
            u64::from(attributes.extent_size)
        }
        _ => 0,
    }
}

/// `range` in units of `hint`, which need not be of whole blocks, and in blocks.
pub(crate) fn in_units(range: Range, hint: u64) -> Range {
    let unit = hint.max(1);
    let start = (range.start() / unit * unit) & !(BLOCK - 1);
    let end = range.end().checked_next_multiple_of(unit);
    let end = end.and_then(|end| end.checked_next_multiple_of(BLOCK));
    Range::new(start, end.unwrap_or(MAX_OFFSET).min(MAX_OFFSET)).unwrap_or(range)
}
