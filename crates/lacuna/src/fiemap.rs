//! The FIEMAP system call: which extents a filesystem has allocated for a file.
//!
//! Structures and flags are those of `linux/fiemap.h`; the meaning of each is in
//! `Documentation/filesystems/fiemap.rst` of the kernel.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode};

use crate::extent::{MAX_OFFSET, Range};

bitflags::bitflags! {
    /// `FIEMAP_FLAG_*`: what to do before and while mapping.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MapFlags: u32 {
        /// Write dirty pages out first, so that delayed allocation is done.
        const SYNC = 0x1;
        /// Map the extended attributes instead of the data.
        const XATTR = 0x2;
        /// Ask for the extents to be cached.
        const CACHE = 0x4;
    }

    /// `FIEMAP_EXTENT_*`: what is known of an extent.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ExtentFlags: u32 {
        /// The last extent of the file.
        const LAST = 0x1;
        /// The physical address is not known.
        const UNKNOWN = 0x2;
        /// Allocation is delayed until the data is written out.
        const DELALLOC = 0x4;
        /// Compressed or otherwise encoded: the bytes on the device are not the file's.
        const ENCODED = 0x8;
        /// Encrypted by the filesystem.
        const DATA_ENCRYPTED = 0x80;
        /// Offsets may not be multiples of the block.
        const NOT_ALIGNED = 0x100;
        /// Stored within the metadata.
        const DATA_INLINE = 0x200;
        /// Stored in a block with the tails of other files.
        const DATA_TAIL = 0x400;
        /// Allocated but never written: reads as zeros.
        const UNWRITTEN = 0x800;
        /// The filesystem has no extents; this one is put together from blocks.
        const MERGED = 0x1000;
        /// The space is shared with other files.
        const SHARED = 0x2000;
        const _ = !0;
    }
}

/// One extent as the filesystem reports it (`struct fiemap_extent`), in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedExtent {
    /// Offset in the file.
    pub logical: u64,
    /// Offset on the device; meaningless with some of the flags.
    pub physical: u64,
    /// Length, which may reach past the end of the file.
    pub length: u64,
    /// What is known of it.
    pub flags: ExtentFlags,
}

/// Extents asked for in one call when a whole file is mapped.
const BATCH: usize = 2048;

const HEADER_WORDS: usize = 4;
const EXTENT_WORDS: usize = 7;

/// A `struct fiemap` with room for extents behind it, as 64-bit words.
struct Request {
    words: Vec<u64>,
}

impl Request {
    fn new(capacity: usize) -> Self {
        Self { words: vec![0; HEADER_WORDS + EXTENT_WORDS * capacity] }
    }

    fn capacity(&self) -> u32 {
        ((self.words.len() - HEADER_WORDS) / EXTENT_WORDS) as u32
    }

    /// Maps `range` and returns how many extents there are now.
    fn map(&mut self, fd: BorrowedFd<'_>, range: Range, flags: MapFlags) -> io::Result<usize> {
        self.words[0] = range.start();
        self.words[1] = range.len();
        self.words[2] = pair(flags.bits(), 0);
        self.words[3] = pair(self.capacity(), 0);
        // SAFETY: FS_IOC_FIEMAP takes a `struct fiemap` and writes at most `fm_extent_count`
        // extents behind it; `words` has that layout and that room, and outlives the call.
        unsafe { ioctl::ioctl(fd, FiemapCall(self)) }?;
        let mapped = halves(self.words[2]).1;
        Ok(mapped.min(self.capacity()) as usize)
    }

    fn extent(&self, index: usize) -> MappedExtent {
        let at = HEADER_WORDS + EXTENT_WORDS * index;
        let words = &self.words[at..at + EXTENT_WORDS];
        MappedExtent {
            logical: words[0],
            physical: words[1],
            length: words[2],
            flags: ExtentFlags::from_bits_retain(halves(words[5]).0),
        }
    }
}

/// Two neighbouring `u32` fields as one word, in the order of the C structure.
fn pair(first: u32, second: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

fn halves(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]))
}

struct FiemapCall<'a>(&'a mut Request);

// SAFETY: the opcode is _IOWR('f', 11, struct fiemap) of linux/fs.h, the pointer is to the words of
// the request, which the kernel reads and writes, and there is no output but those.
unsafe impl Ioctl for FiemapCall<'_> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        ioctl::opcode::from_components(
            ioctl::Direction::ReadWrite,
            b'f',
            11,
            HEADER_WORDS * size_of::<u64>(),
        )
    }

    fn as_ptr(&mut self) -> *mut rustix::ffi::c_void {
        self.0.words.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(
        _: IoctlOutput,
        _: *mut rustix::ffi::c_void,
    ) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// The extents of a file that touch a range, in order, fetched in batches.
///
/// Ends when the filesystem says that an extent is the last, has no more, or the range is through:
/// not every filesystem sets [`ExtentFlags::LAST`].
pub struct Walk<'a> {
    fd: BorrowedFd<'a>,
    rest: Range,
    flags: MapFlags,
    request: Request,
    next: usize,
    mapped: usize,
}

impl<'a> Walk<'a> {
    /// Walks the extents of `range`. The first batch is fetched here, so that a filesystem without
    /// FIEMAP says so at once; [`MapFlags::SYNC`] is obeyed once, at that call.
    pub fn new(file: &'a impl AsFd, range: Range, flags: MapFlags) -> io::Result<Self> {
        // A short range cannot have many extents: do not pay for a large buffer.
        let capacity = BATCH.min((range.len() / 1024) as usize + 2);
        // The kernel refuses to map an empty range; the first byte answers for it.
        let rest = match range.is_empty() {
            true => Range::with_length(range.start(), 1).unwrap_or(range),
            false => range,
        };
        let request = Request::new(capacity);
        let mut walk = Self { fd: file.as_fd(), rest, flags, request, next: 0, mapped: 0 };
        walk.fetch()?;
        Ok(walk)
    }

    /// Fetches the next batch; false when there is none.
    fn fetch(&mut self) -> io::Result<bool> {
        if self.rest.is_empty() {
            return Ok(false);
        }
        self.mapped = self.request.map(self.fd, self.rest, self.flags)?;
        self.next = 0;
        self.flags.remove(MapFlags::SYNC);
        let Some(last) = self.mapped.checked_sub(1) else {
            self.rest = self.rest.split_at(MAX_OFFSET).1;
            return Ok(false);
        };
        let last = self.request.extent(last);
        let reached = last.logical.saturating_add(last.length);
        if reached <= self.rest.start() {
            return Err(io::Error::other("FIEMAP returned extents before the range asked for"));
        }
        self.rest = match last.flags.contains(ExtentFlags::LAST) {
            true => self.rest.split_at(MAX_OFFSET).1,
            false => self.rest.split_at(reached).1,
        };
        Ok(true)
    }
}

impl Iterator for Walk<'_> {
    type Item = io::Result<MappedExtent>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.mapped {
            match self.fetch() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.rest = self.rest.split_at(MAX_OFFSET).1;
                    (self.next, self.mapped) = (0, 0);
                    return Some(Err(error));
                }
            }
        }
        let extent = self.request.extent(self.next);
        self.next += 1;
        Some(Ok(extent))
    }
}
