//! The floor of a full copy: overlapped direct reads and writes.

use std::time::Instant;

use crate::args::Args;
use crate::failure::Result;
use crate::image::{self, Access, BLOCK, Image};
use crate::parallel::{self, Split};
use crate::timing::Timing;

const THREADS: [usize; 5] = [1, 2, 4, 8, 16];
const CHUNKS: [usize; 3] = [512 << 10, 1 << 20, 2 << 20];

/// `floor copy`.
pub(crate) fn copy(mut args: Args) -> Result<Timing> {
    let threads = args.threads()?;
    let chunk = args.chunk()?;
    let [source, target] = args.operands()?;
    copy_once(&source, &target, threads, chunk)
}

/// `floor copy-best`: tries each number of threads with each chunk once.
pub(crate) fn copy_best(args: Args) -> Result<String> {
    let [source, target] = args.operands()?;
    let (mut best, mut line) = (f64::INFINITY, String::new());
    for threads in THREADS {
        for chunk in CHUNKS {
            let seconds = copy_once(&source, &target, threads, chunk)?.seconds;
            let tried = format!("threads={threads} chunk_kib={} seconds={seconds:.4}", chunk >> 10);
            eprintln!("{tried}");
            if seconds < best {
                (best, line) = (seconds, tried);
            }
        }
    }
    Ok(line)
}

/// Copies whole blocks directly and the rest of the file through the cache. Removing an old target is
/// not in the time; the fsync is.
fn copy_once(source: &str, target: &str, threads: usize, chunk: usize) -> Result<Timing> {
    image::remove(target)?;
    let start = Instant::now();
    let from = Image::open(source, Access::Direct)?;
    let size = from.size()?;
    let to = Image::create(target, size, Access::Direct)?;
    let whole = size - size % BLOCK as u64;
    let split = Split { size: whole, chunk, threads, buffer: chunk };
    parallel::each_chunk(split, |buffer, offset, length| {
        from.read(buffer, offset, length)?;
        to.write(&buffer[..length], offset)
    })?;
    if whole < size {
        copy_tail(source, target, whole, (size - whole) as usize)?;
    }
    to.fsync()?;
    Ok(Timing::since(start, size))
}

fn copy_tail(source: &str, target: &str, offset: u64, length: usize) -> Result<()> {
    let mut tail = [0; BLOCK];
    Image::open(source, Access::Buffered)?.read(&mut tail, offset, length)?;
    Image::open_for_writing(target, Access::Buffered)?.write(&tail[..length], offset)
}
