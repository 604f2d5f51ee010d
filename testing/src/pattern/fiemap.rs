//! The extents of a file, by a request to the kernel that rustix does not have.

#![allow(unsafe_code)]

use std::fs::File;
use std::ops::Range;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

use super::Kind;

/// `FS_IOC_FIEMAP` from `linux/fs.h`. The size that it names is that of the request without extents.
const FS_IOC_FIEMAP: Opcode = opcode::read_write::<[u64; 4]>(b'f', 11);

/// `FIEMAP_FLAG_SYNC`, `FIEMAP_EXTENT_LAST` and `FIEMAP_EXTENT_UNWRITTEN` from `linux/fiemap.h`.
const SYNC: u32 = 0x1;
const LAST: u32 = 0x1;
const UNWRITTEN: u32 = 0x800;

/// How many extents the kernel is asked for with one request.
pub(super) const AT_ONCE: usize = 128;

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved: [u64; 2],
    flags: u32,
    reserved_too: [u32; 3],
}

/// `struct fiemap`, with room for the extents that follow it.
#[repr(C)]
struct Request {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
    extents: [Extent; AT_ONCE],
}

/// The allocated extents, in bytes, after a sync.
pub(super) fn extents(file: &File) -> Vec<(Range<u64>, Kind)> {
    let mut found = vec![];
    loop {
        let start = found.last().map_or(0, |(range, _): &(Range<u64>, Kind)| range.end);
        let (extents, is_last) = some(file, start);
        found.extend(extents);
        if is_last {
            return found;
        }
    }
}

/// The first of those from `start` on, and whether these are all.
fn some(file: &File, start: u64) -> (Vec<(Range<u64>, Kind)>, bool) {
    let extents = [Extent::default(); AT_ONCE];
    let (length, count) = (u64::MAX - start, AT_ONCE as u32);
    let mut request =
        Request { start, length, flags: SYNC, mapped: 0, count, reserved: 0, extents };
    // SAFETY: the kernel reads the head of the request and writes it and at most `count` extents, for
    // which there is room; all of it is plain numbers.
    unsafe { ioctl(file, Updater::<FS_IOC_FIEMAP, Request>::new(&mut request)) }
        .expect("ask for the extents");
    let told = &request.extents[..request.mapped as usize];
    let extent = |extent: &Extent| {
        let kind = if extent.flags & UNWRITTEN == 0 { Kind::Data } else { Kind::Zero };
        (extent.logical..extent.logical + extent.length, kind)
    };
    let is_last = told.last().is_none_or(|extent| extent.flags & LAST != 0);
    (told.iter().map(extent).collect(), is_last)
}
