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

/// What a sample image looks like.
enum Layout {
    Full,
    Alternating(Units, Fill),
    Sparse,
    Unwritten,
}

/// Which units are no holes.
#[derive(Clone, Copy)]
struct Units {
    size: u64,
    /// One in so many,
    every: u64,
    /// from this one on.
    first: u64,
}

/// What stands in a unit that is no hole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    Random,
    Unwritten,
}

/// `floor make`. The bytes are those written.
pub(crate) fn make(mut args: Args) -> Result<Timing> {
    let seed = args.number("--seed", 1)?;
    let size = args.unit()?;
    let (every, first) = (args.number("--every", 2)?, args.number("--first", 0)?);
    let units = Units { size, every, first };
    let fill = if args.flag("--unwritten") { Fill::Unwritten } else { Fill::Random };
    let [path, size, layout] = args.operands()?;
    let size = args::parse_bytes(&size)?;
    if !size.is_multiple_of(BLOCK as u64) {
        return Err(Failure::Usage(format!("SIZE is no multiple of {BLOCK}")));
    }
    let layout = match layout.as_str() {
        "full" => Layout::Full,
        "alternating" => Layout::Alternating(units, fill),
        "sparse" => Layout::Sparse,
        "unwritten" => Layout::Unwritten,
        other => return Err(Failure::Usage(format!("no such layout: {other}"))),
    };
    image::remove(&path)?;
    let start = Instant::now();
    let image = Image::create(&path, size, Access::Buffered)?;
    let mut random = Random::new(seed);
    let bytes = match layout {
        Layout::Full => write_full(&image, size, &mut random)?,
        Layout::Alternating(units, fill) => alternate(&image, size, units, fill, &mut random)?,
        Layout::Sparse => write_sparse(&image, size, &mut random)?,
        Layout::Unwritten => {
            image.allocate(0, size)?;
            size
        }
    };
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

/// A unit of data, or of unwritten space, and a hole of one or more units in turn.
fn alternate(
    image: &Image,
    size: u64,
    units: Units,
    fill: Fill,
    random: &mut Random,
) -> Result<u64> {
    let unit = units.size;
    let mut buffer = AlignedBuf::new(CHUNK.min(unit as usize));
    let mut bytes = 0;
    for offset in (units.first * unit..size).step_by((units.every * unit) as usize) {
        let length = unit.min(size - offset);
        bytes += length;
        if fill == Fill::Unwritten {
            image.allocate(offset, length)?;
            continue;
        }
        let step = buffer.as_mut_slice().len() as u64;
        for at in (offset..offset + length).step_by(step as usize) {
            let length = step.min(offset + length - at) as usize;
            write_random(image, at, &mut buffer.as_mut_slice()[..length], random)?;
        }
    }
    Ok(bytes)
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
