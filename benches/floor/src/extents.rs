//! The floor of an image of many small extents: one system call for each block, and one fsync.

use std::time::Instant;

use crate::args::{self, Args};
use crate::failure::{Failure, Result};
use crate::image::{self, Access, BLOCK, Image};
use crate::parallel::{self, Split};
use crate::timing::Timing;

/// Bytes of the file that a thread takes at a time.
const CHUNK: usize = 1 << 20;

/// `floor extents`: writes every block, or every second one, of a fresh file.
pub(crate) fn extents(mut args: Args) -> Result<Timing> {
    let threads = args.threads()?;
    let access = if args.flag("--direct") { Access::Direct } else { Access::Buffered };
    let blocks = if args.flag("--every-second-block") { 2 } else { 1 };
    let [target, size] = args.operands()?;
    let size = args::parse_bytes(&size)?;
    if !size.is_multiple_of((BLOCK * blocks) as u64) {
        return Err(Failure::Usage(format!("SIZE is no multiple of {}", BLOCK * blocks)));
    }
    image::remove(&target)?;
    let start = Instant::now();
    let image = Image::create(&target, size, access)?;
    let split = Split { size, chunk: CHUNK, threads, buffer: BLOCK };
    parallel::each_chunk(split, |block, offset, length| {
        block.fill(0xA5);
        let end = offset + length as u64;
        (offset..end).step_by(BLOCK * blocks).try_for_each(|at| image.write(block, at))
    })?;
    image.fsync()?;
    Ok(Timing::since(start, size / blocks as u64))
}

/// `floor punch`: punches every second block, beginning with the second. The bytes are those punched.
pub(crate) fn punch(args: Args) -> Result<Timing> {
    let [path] = args.operands()?;
    let start = Instant::now();
    let image = Image::open_for_writing(&path, Access::Buffered)?;
    let size = image.size()?;
    let mut bytes = 0;
    for offset in (BLOCK as u64..size).step_by(2 * BLOCK) {
        image.punch(offset, BLOCK as u64)?;
        bytes += BLOCK as u64;
    }
    image.fsync()?;
    Ok(Timing::since(start, bytes))
}
