//! Buffers that direct I/O accepts, and a pool that hands them out again.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// The alignment of every buffer: no filesystem in use asks for more.
const ALIGN: usize = 4096;

/// A buffer that starts at a multiple of 4096 bytes.
pub struct AlignedBuf {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// `len` zero bytes. The memory is only touched when it is used.
    pub fn new(len: usize) -> Self {
        let bytes = vec![0; len + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN);
        Self { bytes, start, len }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

/// Buffers of one size that are used again: touching fresh memory costs more than copying into it.
#[derive(Clone)]
pub struct BufPool {
    free: Arc<Mutex<Vec<AlignedBuf>>>,
    len: usize,
}

impl BufPool {
    /// A pool of buffers of `len` bytes, empty at first.
    pub fn new(len: usize) -> Self {
        Self { free: Arc::default(), len }
    }

    /// A buffer, with whatever bytes its last user left in it.
    pub fn take(&self) -> PooledBuf {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let buf = free.unwrap_or_else(|| AlignedBuf::new(self.len));
        PooledBuf { buf: Some(buf), len: self.len, pool: self.clone() }
    }
}

/// A buffer that goes back to its pool when dropped.
pub struct PooledBuf {
    buf: Option<AlignedBuf>,
    len: usize,
    pool: BufPool,
}

impl PooledBuf {
    /// Shows only the first `len` bytes from here on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Deref for PooledBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buf.as_ref().map_or(&[], |buf| &buf[..self.len])
    }
}

impl DerefMut for PooledBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.buf.as_mut().map_or(&mut [], |buf| &mut buf[..self.len])
    }
}

impl AsRef<[u8]> for PooledBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for PooledBuf {
    fn drop(&mut self) {
        if let Some(buf) = self.buf.take() {
            self.pool.free.lock().unwrap_or_else(PoisonError::into_inner).push(buf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_buffer_is_aligned_and_as_long_as_asked() {
        for len in [0, 1, 4096, 1 << 20] {
            let buf = AlignedBuf::new(len);
            assert_eq!(buf.as_ptr().align_offset(ALIGN), 0);
            assert_eq!(buf.len(), len);
        }
    }

    #[test]
    fn a_pool_hands_out_the_same_memory_again_at_full_length() {
        let pool = BufPool::new(8192);
        let mut first = pool.take();
        first.truncate(10);
        assert_eq!(first.len(), 10);
        let address = first.as_ptr();
        drop(first);
        let second = pool.take();
        assert_eq!((second.as_ptr(), second.len()), (address, 8192));
        assert_ne!(pool.take().as_ptr(), address);
    }
}
