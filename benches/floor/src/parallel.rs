//! Threads that take chunks of a range from one counter.

use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::aligned_buf::AlignedBuf;
use crate::failure::Result;

/// How a range is divided among threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    /// Bytes to divide, from 0.
    pub(crate) size: u64,
    /// Bytes taken at a time.
    pub(crate) chunk: usize,
    /// Threads that take them.
    pub(crate) threads: usize,
    /// Bytes of the aligned buffer that each thread has and uses again for every chunk.
    pub(crate) buffer: usize,
}

/// Calls `work` with a buffer, an offset and a length for every chunk, from all threads at once. After
/// an error nothing more is begun.
pub(crate) fn each_chunk<W>(split: Split, work: W) -> Result<()>
where
    W: Fn(&mut [u8], u64, usize) -> Result<()> + Sync,
{
    let next = AtomicU64::new(0);
    let worker = || {
        let mut buffer = AlignedBuf::new(split.buffer);
        loop {
            let offset = next.fetch_add(split.chunk as u64, Ordering::Relaxed);
            if offset >= split.size {
                return Ok(());
            }
            let length = (split.chunk as u64).min(split.size - offset) as usize;
            let result = work(buffer.as_mut_slice(), offset, length);
            if result.is_err() {
                next.store(split.size, Ordering::Relaxed);
                return result;
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..split.threads).map(|_| scope.spawn(worker)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, Result<()>>| {
            worker.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
        };
        workers.into_iter().try_for_each(join)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::failure::Failure;

    #[test]
    fn every_byte_is_dealt_with_once() {
        for size in [0, 1, 10, 11, 95] {
            let seen = Mutex::new(vec![0; size as usize]);
            let split = Split { size, chunk: 10, threads: 3, buffer: 10 };
            each_chunk(split, |buffer, offset, length| {
                assert_eq!(buffer.len(), 10);
                let mut seen = seen.lock().unwrap();
                (0..length).for_each(|byte| seen[offset as usize + byte] += 1);
                Ok(())
            })
            .unwrap();
            assert!(seen.into_inner().unwrap().iter().all(|&count| count == 1));
        }
    }

    #[test]
    fn an_error_ends_it() {
        let split = Split { size: 1 << 40, chunk: 10, threads: 2, buffer: 10 };
        let result = each_chunk(split, |_, _, _| Err(Failure::Usage("no".to_owned())));
        assert!(result.is_err());
    }
}
