//! What a filesystem is, and how much fits on it.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{StatVfs, fstatfs, fstatvfs};
use rustix::io;

use crate::error::{Error, Result};

/// Magic numbers, those of Linux from `linux/magic.h`.
const EXT4: u32 = 0xef53;
pub(crate) const BTRFS: u32 = 0x9123_683e;
const BCACHEFS: u32 = 0xca45_1a4e;

const NFS: u32 = 0x6969;
const CIFS: u32 = 0xff53_4d42;
const SMB2: u32 = 0xfe53_4d42;
const TMPFS: u32 = 0x0102_1994;
const FUSE: u32 = 0x6573_5546;
const PLAN_9: u32 = 0x0102_1997;
const ZFS: u32 = 0x2fc1_2fc1;

/// What kind of filesystem `file` is on, by its magic number.
pub(crate) fn magic(file: impl AsFd) -> io::Result<u32> {
    Ok(fstatfs(file)?.f_type as u32)
}

/// Whether `file` is on another machine, as far as that is known.
pub(crate) fn is_remote(file: impl AsFd) -> bool {
    matches!(magic(file), Ok(NFS | CIFS | SMB2))
}

/// Whether the filesystem that `file` is on is known to have no FIEMAP.
pub(crate) fn lacks_fiemap(file: impl AsFd) -> bool {
    matches!(magic(file), Ok(TMPFS | NFS | CIFS | SMB2 | FUSE | PLAN_9 | ZFS))
}

/// Whether the filesystem that `file` is on never writes over what is there.
pub(crate) fn rewrites(file: impl AsFd, path: &Path) -> Result<bool> {
    match magic(file) {
        Ok(magic) => Ok(matches!(magic, BTRFS | BCACHEFS)),
        Err(errno) => Err(failed(path, errno)),
    }
}

/// What this user may still allocate on the filesystem that `file` is on, in bytes.
pub(crate) fn free_bytes(file: impl AsFd, path: &Path) -> Result<u64> {
    let space = fstatvfs(&file).map_err(|errno| failed(path, errno))?;
    let may_all = rustix::process::geteuid().is_root()
        && magic(&file).map_err(|errno| failed(path, errno))? == EXT4;
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

fn failed(path: &Path, errno: io::Errno) -> Error {
    Error::io("stat the filesystem of", path, errno)
}
