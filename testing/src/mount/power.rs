//! The two ways to take the power from a filesystem. Both are requests to the kernel that rustix
//! does not have.

#![allow(unsafe_code)]

use std::fs::File;

use rustix::io::Result;
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

/// `FS_IOC_SHUTDOWN` from `linux/fs.h`, older as `XFS_IOC_GOINGDOWN` and `EXT4_IOC_SHUTDOWN`. The
/// kernel's headers say `_IOR`, but it reads.
const FS_IOC_SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);

/// `FS_SHUTDOWN_FLAGS_NOLOGFLUSH`: not even the log is written.
const NO_LOG_FLUSH: u32 = 2;

/// `LOOP_SET_STATUS64` and `LOOP_GET_STATUS64` from `linux/loop.h`.
const LOOP_SET_STATUS64: Opcode = 0x4C04;
const LOOP_GET_STATUS64: Opcode = 0x4C05;

/// `struct loop_info64`: 232 bytes, the first five members of 64 bits.
type LoopStatus = [u64; 29];

/// `lo_sizelimit`, in bytes.
const SIZE_LIMIT: usize = 4;

/// Makes the filesystem of an open file refuse everything from now on, its log unwritten.
pub(super) fn shut_down(file: &File) -> Result<()> {
    // SAFETY: the kernel reads one u32 through the pointer, which `Setter` gives it.
    unsafe { ioctl(file, Setter::<FS_IOC_SHUTDOWN, u32>::new(NO_LOG_FLUSH)) }
}

/// Leaves one sector of a loop device, so that whatever a filesystem still writes to it fails.
pub(super) fn shrink(device: &File) -> Result<()> {
    // SAFETY: the kernel fills in a struct of 232 bytes, all of them plain numbers.
    let mut status = unsafe { ioctl(device, Getter::<LOOP_GET_STATUS64, LoopStatus>::new()) }?;
    status[SIZE_LIMIT] = 512;
    // SAFETY: the kernel reads the same struct.
    unsafe { ioctl(device, Setter::<LOOP_SET_STATUS64, LoopStatus>::new(status)) }
}
