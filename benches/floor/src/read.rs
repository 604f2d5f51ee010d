//! The floor of a comparison: both files read at once.

use std::hint::black_box;
use std::panic;
use std::thread;
use std::time::Instant;

use crate::args::Args;
use crate::failure::Result;
use crate::image::{Access, Image};
use crate::parallel::{self, Split};
use crate::timing::Timing;

/// Bytes that are hashed at once, as lacuna does.
const HASHED: usize = 64 << 10;

/// `floor read2`: half of the threads, and at least one, read each file, and hash it when asked to.
pub(crate) fn read2(mut args: Args) -> Result<Timing> {
    let threads = args.threads()?.div_ceil(2);
    let chunk = args.chunk()?;
    let access = if args.flag("--buffered") { Access::Buffered } else { Access::Direct };
    let hash = args.flag("--hash");
    let [a, b] = args.operands()?;
    let start = Instant::now();
    let read = |path: &str| {
        read_all(path, access, threads, chunk, |bytes| {
            if hash {
                bytes.chunks(HASHED).for_each(|bytes| _ = black_box(blake3::hash(bytes)));
            }
        })
    };
    let (a, b) = thread::scope(|scope| {
        let first = scope.spawn(|| read(&a));
        let second = read(&b);
        (first.join().unwrap_or_else(|cause| panic::resume_unwind(cause)), second)
    });
    Ok(Timing::since(start, a? + b?))
}

/// Reads a whole file, shows `look` every chunk, and answers the size.
pub(crate) fn read_all(
    path: &str,
    access: Access,
    threads: usize,
    chunk: usize,
    look: impl Fn(&[u8]) + Sync,
) -> Result<u64> {
    let image = Image::open(path, access)?;
    let size = image.size()?;
    let split = Split { size, chunk, threads, buffer: chunk };
    parallel::each_chunk(split, |buffer, offset, length| {
        image.read(buffer, offset, length)?;
        look(&buffer[..length]);
        Ok(())
    })?;
    Ok(size)
}
