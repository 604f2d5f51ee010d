//! The floor of reading a layout: the bare FIEMAP ioctl (`linux/fiemap.h`).
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::File;
use std::path::Path;
use std::time::Instant;

use rustix::ioctl::{self, Direction, Ioctl, IoctlOutput, Opcode, opcode};

use crate::args::Args;
use crate::failure::{Failure, Result};
use crate::timing::Timing;

/// Extents asked for in one call.
const EXTENTS: usize = 2048;
/// Write back what is dirty first, so that delayed allocation is over.
const FLAG_SYNC: u32 = 1;
/// The extent is the file's last.
const EXTENT_LAST: u32 = 1;
/// `FS_IOC_FIEMAP`, `_IOWR('f', 11, struct fiemap)`; the extents after the header do not count.
const FS_IOC_FIEMAP: Opcode =
    opcode::from_components(Direction::ReadWrite, b'f', 11, size_of::<Header>());

/// `struct fiemap` without its extents.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Header {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
}

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

/// `struct fiemap` with room for [`EXTENTS`] extents.
#[repr(C)]
#[derive(Debug)]
struct Request {
    header: Header,
    extents: [Extent; EXTENTS],
}

const _: () = assert!(size_of::<Header>() == 32 && size_of::<Extent>() == 56);
const _: () = assert!(size_of::<Request>() == 32 + EXTENTS * 56);

impl Request {
    fn new() -> Box<Self> {
        let header = Header {
            start: 0,
            length: 0,
            flags: 0,
            mapped_extents: 0,
            extent_count: 0,
            reserved: 0,
        };
        let extent = Extent {
            logical: 0,
            physical: 0,
            length: 0,
            reserved64: [0; 2],
            flags: 0,
            reserved: [0; 3],
        };
        Box::new(Self { header, extents: [extent; EXTENTS] })
    }

    /// Asks for the extents from `start` on.
    fn ask(&mut self, file: &File, start: u64, flags: u32) -> rustix::io::Result<&[Extent]> {
        self.header = Header {
            start,
            length: u64::MAX - start,
            flags,
            mapped_extents: 0,
            extent_count: EXTENTS as u32,
            reserved: 0,
        };
        // SAFETY: `Call` is FS_IOC_FIEMAP with a `struct fiemap`; any file may be asked, and those of a
        // filesystem without FIEMAP answer with an error.
        unsafe { ioctl::ioctl(file, Call(self)) }?;
        Ok(&self.extents[..self.header.mapped_extents as usize])
    }
}

/// One FIEMAP call.
struct Call<'a>(&'a mut Request);

// SAFETY: the opcode is FS_IOC_FIEMAP, which reads and writes a `struct fiemap` and the extents that
// follow it, at most `extent_count` of them. The pointer is to a `Request`, which begins with that
// structure (its size and the extents' are asserted above) and has room for EXTENTS of them, which is
// what `ask` puts into `extent_count`. It is borrowed for the call, and every bit pattern is valid in
// all of its fields. There is no output but what the kernel put there.
unsafe impl Ioctl for Call<'_> {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        FS_IOC_FIEMAP
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut *self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// `floor fiemap`. The bytes are those that the extents cover.
pub(crate) fn fiemap(args: Args) -> Result<String> {
    let [path] = args.operands()?;
    let path = Path::new(&path);
    let begun = Instant::now();
    let file = File::open(path).map_err(|cause| Failure::file("open", path, cause))?;
    let mut request = Request::new();
    let (mut extents, mut bytes) = (0, 0);
    let mut next = Some((0, FLAG_SYNC));
    while let Some((start, flags)) = next {
        let found = request
            .ask(&file, start, flags)
            .map_err(|cause| Failure::file("map the extents of", path, cause))?;
        extents += found.len();
        bytes += found.iter().map(|extent| extent.length).sum::<u64>();
        next = found
            .last()
            .filter(|last| last.flags & EXTENT_LAST == 0)
            .map(|last| (last.logical + last.length, 0));
    }
    Ok(format!("{} extents={extents}", Timing::since(begun, bytes)))
}
