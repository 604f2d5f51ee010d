//! Sample images, the same ones for the same seed.

use std::time::Instant;

use crate::aligned_buf::AlignedBuf;
use crate::args::{self, Args};
use crate::failure::{Failure, Result};
use crate::image::{self, Access, BLOCK, Image};
use crate::random::Random;
use crate::timing::Timing;

/// Bytes written at a time, at most.
const CHUNK: usize = 1 << 20;

/// `floor make`. The bytes are those written.
pub(crate) fn make(mut args: Args) -> Result<Timing> {
    let seed = args.number("--seed", 1)?;
    let [path, size, layout] = args.operands()?;
    let size = args::parse_bytes(&size)?;
    if !size.is_multiple_of(BLOCK as u64) {
        return Err(Failure::Usage(format!("SIZE is no multiple of {BLOCK}")));
    }
    let write = match layout.as_str() {
        "full" => write_full,
        "alternating" => write_alternating,
        "sparse" => write_sparse,
        other => return Err(Failure::Usage(format!("no such layout: {other}"))),
    };
    image::remove(&path)?;
    let start = Instant::now();
    let image = Image::create(&path, size, Access::Buffered)?;
    let bytes = write(&image, size, &mut Random::new(seed))?;
    image.fsync()?;
    Ok(Timing::since(start, bytes))
}

/// Random bytes everywhere.
fn write_full(image: &Image, size: u64, random: &mut Random) -> Result<u64> {
    let mut buffer = AlignedBuf::new(CHUNK);
    for offset in (0..size).step_by(CHUNK) {
        let length = (CHUNK as u64).min(size - offset) as usize;
        write_random(image, offset, &mut buffer.as_mut_slice()[..length], random)?;
    }
    Ok(size)
}

/// A block of data and a hole of one block in turn.
fn write_alternating(image: &Image, size: u64, random: &mut Random) -> Result<u64> {
    let mut buffer = AlignedBuf::new(BLOCK);
    for offset in (0..size).step_by(2 * BLOCK) {
        write_random(image, offset, buffer.as_mut_slice(), random)?;
    }
    Ok((size / BLOCK as u64).div_ceil(2) * BLOCK as u64)
}

/// Data, allocated zeros and holes of 1 to 256 blocks, as chance has it.
fn write_sparse(image: &Image, size: u64, random: &mut Random) -> Result<u64> {
    let mut buffer = AlignedBuf::new(CHUNK);
    let (mut offset, mut bytes) = (0, 0);
    while offset < size {
        let length = ((BLOCK as u64) << (random.next() % 9)).min(size - offset);
        match random.next() % 3 {
            0 => {
                let data = &mut buffer.as_mut_slice()[..length as usize];
                write_random(image, offset, data, random)?;
                bytes += length;
            }
            1 => image.allocate(offset, length)?,
            _ => {}
        }
        offset += length;
    }
    Ok(bytes)
}

/// `floor change`: gives each block new bytes with the chance asked for. With one seed it is always
/// the same blocks and the same bytes.
pub(crate) fn change(mut args: Args) -> Result<Timing> {
    let seed = args.number("--seed", 2)?;
    let percent: u64 = args.number("--percent", 1)?;
    let [path] = args.operands()?;
    let start = Instant::now();
    let image = Image::open_for_writing(&path, Access::Buffered)?;
    let mut random = Random::new(seed);
    let mut buffer = AlignedBuf::new(BLOCK);
    let mut bytes = 0;
    for block in 0..image.size()? / BLOCK as u64 {
        if random.next() % 100 < percent {
            write_random(&image, block * BLOCK as u64, buffer.as_mut_slice(), &mut random)?;
            bytes += BLOCK as u64;
        }
    }
    image.fsync()?;
    Ok(Timing::since(start, bytes))
}

fn write_random(image: &Image, at: u64, bytes: &mut [u8], random: &mut Random) -> Result<()> {
    random.fill(bytes);
    image.write(bytes, at)
}
