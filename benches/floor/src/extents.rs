//! The floor of images of many extents: one system call for each of them, and one fsync.

use std::panic;
use std::thread;
use std::time::Instant;

use crate::args::{self, Args};
use crate::failure::{Failure, Result};
use crate::image::{self, Access, BLOCK, Image};
use crate::parallel::{self, Split};
use crate::read;
use crate::timing::Timing;

/// Bytes of the file that a thread takes at a time.
const CHUNK: usize = 1 << 20;

/// `floor extents`: writes every block, or every second one, of a fresh file, and reads another one
/// directly at the same time when asked to.
pub(crate) fn extents(mut args: Args) -> Result<Timing> {
    let threads = args.threads()?;
    let access = if args.flag("--direct") { Access::Direct } else { Access::Buffered };
    let blocks = if args.flag("--every-second-block") { 2 } else { 1 };
    let beside = args.text("--beside")?;
    let [target, size] = args.operands()?;
    let size = args::parse_bytes(&size)?;
    if !size.is_multiple_of((BLOCK * blocks) as u64) {
        return Err(Failure::Usage(format!("SIZE is no multiple of {}", BLOCK * blocks)));
    }
    image::remove(&target)?;
    let start = Instant::now();
    let image = Image::create(&target, size, access)?;
    let split = Split { size, chunk: CHUNK, threads, buffer: BLOCK };
    let write = |block: &mut [u8], offset, length| {
        block.fill(0xA5);
        let end = offset + length as u64;
        (offset..end).step_by(BLOCK * blocks).try_for_each(|at| image.write(block, at))
    };
    thread::scope(|scope| {
        let reading = beside.as_deref().map(|path| {
            scope.spawn(move || read::read_all(path, Access::Direct, threads, CHUNK, |_| ()))
        });
        parallel::each_chunk(split, write)?;
        image.fsync()?;
        reading.map_or(Ok(0), |reading| {
            reading.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
        })
    })?;
    Ok(Timing::since(start, size / blocks as u64))
}

/// `floor fold`: writes every second unit of SRC, beginning with the first, over the same of DST.
pub(crate) fn fold(mut args: Args) -> Result<Timing> {
    let threads = args.threads()?;
    let unit = args.unit()?;
    let access = if args.flag("--buffered") { Access::Buffered } else { Access::Direct };
    let [source, target] = args.operands()?;
    let start = Instant::now();
    let from = Image::open(&source, access)?;
    let to = Image::open_for_writing(&target, access)?;
    let size = from.size()?;
    if to.size()? != size || !size.is_multiple_of(2 * unit) {
        let problem = format!("both files must have one size, a multiple of {}", 2 * unit);
        return Err(Failure::Usage(problem));
    }
    let chunk = CHUNK.max(unit as usize);
    parallel::each_chunk(
        Split { size, chunk, threads, buffer: chunk },
        |buffer, offset, length| {
            let is_hole = |at: u64| (at / unit) % 2 == 1;
            if unit >= CHUNK as u64 && is_hole(offset) {
                return Ok(());
            }
            from.read(buffer, offset, length)?;
            let piece = length.min(unit as usize);
            for (at, bytes) in (offset..).step_by(piece).zip(buffer[..length].chunks(piece)) {
                if !is_hole(at) {
                    to.write(bytes, at)?;
                }
            }
            Ok(())
        },
    )?;
    to.fsync()?;
    Ok(Timing::since(start, size / 2))
}

/// `floor punch`: punches every second block, beginning with the first. The bytes are those punched.
pub(crate) fn punch(args: Args) -> Result<Timing> {
    let [path] = args.operands()?;
    let start = Instant::now();
    let image = Image::open_for_writing(&path, Access::Buffered)?;
    let size = image.size()?;
    let mut bytes = 0;
    for offset in (0..size).step_by(2 * BLOCK) {
        image.punch(offset, BLOCK as u64)?;
        bytes += BLOCK as u64;
    }
    image.fsync()?;
    Ok(Timing::since(start, bytes))
}
