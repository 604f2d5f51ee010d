//! The floor of a local sync to a target that differs in places: both files read at once, and the
//! blocks that differ written.

use std::time::Instant;

use crate::args::Args;
use crate::failure::{Failure, Result};
use crate::image::{Access, BLOCK, Image};
use crate::parallel::{self, Split};
use crate::timing::Timing;

/// `floor update`.
pub(crate) fn update(mut args: Args) -> Result<Timing> {
    let threads = args.threads()?;
    let chunk = args.chunk()?;
    let access = if args.flag("--buffered") { Access::Buffered } else { Access::Direct };
    let [source, target] = args.operands()?;
    let start = Instant::now();
    let from = Image::open(&source, access)?;
    let to = Image::open_for_writing(&target, access)?;
    let size = from.size()?;
    if to.size()? != size || !size.is_multiple_of(BLOCK as u64) {
        let problem = "both files must have one size, a multiple of 4096 bytes".to_owned();
        return Err(Failure::Usage(problem));
    }
    let split = Split { size, chunk, threads, buffer: 2 * chunk };
    parallel::each_chunk(split, |buffer, offset, length| {
        let (new, old) = buffer.split_at_mut(chunk);
        from.read(new, offset, length)?;
        to.read(old, offset, length)?;
        for (start, end) in differing_runs(&new[..length], &old[..length]) {
            to.write(&new[start..end], offset + start as u64)?;
        }
        Ok(())
    })?;
    to.fsync()?;
    Ok(Timing::since(start, size))
}

/// The maximal runs of blocks that differ, as positions of bytes.
fn differing_runs(new: &[u8], old: &[u8]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (index, (new, old)) in new.chunks(BLOCK).zip(old.chunks(BLOCK)).enumerate() {
        let start = index * BLOCK;
        match runs.last_mut() {
            _ if new == old => {}
            Some(run) if run.1 == start => run.1 += BLOCK,
            _ => runs.push((start, start + BLOCK)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_run() {
        let old = vec![0; 6 * BLOCK];
        let mut new = old.clone();
        assert_eq!(differing_runs(&new, &old), []);
        for block in [0, 2, 3, 5] {
            new[block * BLOCK + 7] = 1;
        }
        let blocks = |start, end| (start * BLOCK, end * BLOCK);
        assert_eq!(differing_runs(&new, &old), [blocks(0, 1), blocks(2, 4), blocks(5, 6)]);
    }
}
