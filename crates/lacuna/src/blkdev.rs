//! Block device requests that have no system call of their own.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use rustix::ioctl::{Setter, ioctl};

use crate::extent::Range;

/// `BLKZEROOUT` of `linux/fs.h`: `_IO(0x12, 127)`.
const BLKZEROOUT: rustix::ioctl::Opcode = rustix::ioctl::opcode::none(0x12, 127);

/// Writes zeros over `range` of a device, by its own means where it has some.
pub(crate) fn zero_out(device: &File, range: Range) -> io::Result<()> {
    // SAFETY: BLKZEROOUT reads two u64, start and length in bytes, from the pointer it is given.
    let request = unsafe { Setter::<BLKZEROOUT, [u64; 2]>::new([range.start(), range.len()]) };
    // SAFETY: the request is the one that the opcode asks for, and the kernel only reads it.
    Ok(unsafe { ioctl(device, request) }?)
}
