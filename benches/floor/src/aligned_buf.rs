//! A buffer that direct I/O accepts.

use crate::image::BLOCK;

/// Bytes that begin at a multiple of the block in memory.
#[derive(Debug)]
pub(crate) struct AlignedBuf {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuf {
    /// A buffer of `length` zeros.
    pub(crate) fn new(length: usize) -> Self {
        let bytes = vec![0; length + BLOCK];
        let start = bytes.as_ptr().align_offset(BLOCK);
        Self { bytes, start, length }
    }

    /// The bytes.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_at_a_block() {
        for length in [1, BLOCK, 3 * BLOCK + 1] {
            let mut buffer = AlignedBuf::new(length);
            let slice = buffer.as_mut_slice();
            assert_eq!(slice.len(), length);
            assert_eq!(slice.as_ptr().align_offset(BLOCK), 0);
        }
    }
}
