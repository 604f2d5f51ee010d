//! Files whose bytes and kinds are known beforehand: a slow and obvious oracle for whatever reads
//! or writes images.

mod fiemap;
mod kinds;
mod strategy;

use std::fmt;
use std::fs::File;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

pub use self::kinds::kinds_of;
pub use self::strategy::{pair_strategy, strategy};

/// Bytes in a block.
pub const BLOCK: u64 = 4096;

/// What a filesystem keeps for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Allocated, holds bytes.
    Data,
    /// Allocated, unwritten, reads as zeros.
    Zero,
    /// Not allocated, reads as zeros.
    Hole,
}

/// A block of a [`Pattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Not allocated.
    Hole,
    /// Allocated, unwritten.
    Zero,
    /// Allocated, with pseudo-random bytes that follow from the seed and the index of the block. The
    /// first byte is the seed. Seed 0 is a data block that is all zeros.
    Data(u8),
    /// Allocated, all zeros but the last byte, which is 1.
    DataLastByte,
}

impl Block {
    /// The kind this block asks for.
    pub fn kind(self) -> Kind {
        match self {
            Self::Hole => Kind::Hole,
            Self::Zero => Kind::Zero,
            Self::Data(_) | Self::DataLastByte => Kind::Data,
        }
    }

    /// The first `length` bytes that stand in the block at `index` of a file.
    fn bytes(self, index: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        match self {
            Self::Hole | Self::Zero | Self::Data(0) => {}
            Self::Data(seed) => {
                scramble(seed, index, &mut bytes);
                bytes[0] = seed;
            }
            Self::DataLastByte => bytes[length - 1] = 1,
        }
        bytes
    }
}

/// A file, block by block.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    /// The blocks, as many as `size` needs.
    pub blocks: Vec<Block>,
    /// Size in bytes. The last block may be partial.
    pub size: u64,
}

impl Pattern {
    /// A pattern whose last block is whole.
    pub fn whole(blocks: Vec<Block>) -> Self {
        let size = blocks.len() as u64 * BLOCK;
        Self { blocks, size }
    }

    /// Creates the file, or empties it, and makes it as [`Pattern::write_over`] does.
    pub fn write(&self, path: &Path) {
        File::create(path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        self.write_over(path);
    }

    /// Makes an existing file into this pattern, in place, durably. The inode stays, the old
    /// content goes. On tmpfs `Zero` becomes written zeros. A device gets the bytes.
    ///
    /// # Panics
    ///
    /// If the filesystem does not hold exactly these kinds at the end.
    pub fn write_over(&self, path: &Path) {
        self.check();
        let file = File::options().read(true).write(true).open(path);
        let file = file.unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
        if file.metadata().expect("stat").file_type().is_block_device() {
            file.write_all_at(&self.bytes(), 0).expect("write to the device");
            file.sync_all().expect("sync the device");
            return;
        }
        file.set_len(0).and_then(|()| file.set_len(self.size)).expect("set the size");
        // Data first: ext4 writes zeros around what is written into `Zero`.
        self.put(&file, |block| block.kind() == Kind::Data);
        self.put(&file, |block| block == Block::Zero);
        self.settle(&file, path);
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> Vec<u8> {
        self.check();
        self.run_bytes(0, self.blocks.len())
    }

    /// The kinds of its blocks, on a filesystem that has all three.
    pub fn kinds(&self) -> Vec<Kind> {
        self.blocks.iter().map(|block| block.kind()).collect()
    }

    fn check(&self) {
        let blocks = self.size.div_ceil(BLOCK);
        assert_eq!(self.blocks.len() as u64, blocks, "blocks for {} bytes", self.size);
    }

    fn run_bytes(&self, start: usize, end: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (index, block) in self.blocks.iter().enumerate().take(end).skip(start) {
            let length = (self.size - index as u64 * BLOCK).min(BLOCK);
            bytes.extend(block.bytes(index, length as usize));
        }
        bytes
    }

    /// Writes or preallocates the blocks that are wanted, one call a run, and syncs.
    fn put(&self, file: &File, wanted: impl Fn(Block) -> bool) {
        let mut index = 0;
        for run in self.blocks.chunk_by(|a, b| wanted(*a) == wanted(*b)) {
            let (start, end) = (index, index + run.len());
            index = end;
            if !wanted(run[0]) {
                continue;
            }
            if run[0] == Block::Zero && preallocate(file, start, end) {
                continue;
            }
            file.write_all_at(&self.run_bytes(start, end), start as u64 * BLOCK).expect("write");
        }
        file.sync_all().expect("sync");
    }

    /// Mends the blocks whose kind did not come out, until all have.
    fn settle(&self, file: &File, path: &Path) {
        let has_zero = !kinds::without_fiemap(file);
        let mut want = self.kinds();
        if !has_zero {
            want.iter_mut().filter(|kind| **kind == Kind::Zero).for_each(|kind| *kind = Kind::Data);
        }
        for _ in 0..4 {
            let got = kinds_of(path);
            if got == want {
                return;
            }
            for index in (0..want.len()).filter(|&index| got[index] != want[index]) {
                self.mend(file, index);
            }
            file.sync_all().expect("sync");
        }
        let got = kinds_of(path);
        assert_eq!(got, want, "the kinds of {}, left what it holds", path.display());
    }

    fn mend(&self, file: &File, index: usize) {
        let offset = index as u64 * BLOCK;
        let block = self.blocks[index];
        if block.kind() == Kind::Data {
            file.write_all_at(&self.run_bytes(index, index + 1), offset).expect("write");
            return;
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(file, flags, offset, BLOCK).expect("punch");
        if block == Block::Zero {
            preallocate(file, index, index + 1);
        }
    }
}

/// As runs of equal blocks: a failing case is read by people.
impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern {{ size: {}, blocks: [", self.size)?;
        let mut index = 0;
        for run in self.blocks.chunk_by(|a, b| a == b) {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{index}..{} {:?}", index + run.len(), run[0])?;
            index += run.len();
        }
        f.write_str("] }")
    }
}

/// Makes blocks `Zero`, or returns false where the filesystem has no such thing. The range is whole
/// blocks even past the end of the file: the edges of a partial one would be written.
fn preallocate(file: &File, start: usize, end: usize) -> bool {
    let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, flags, start as u64 * BLOCK, (end - start) as u64 * BLOCK) {
        Ok(()) => true,
        Err(Errno::OPNOTSUPP) => false,
        Err(error) => panic!("preallocate: {error}"),
    }
}

/// xorshift64*, by Marsaglia and Vigna. Different seeds and indices start in different states.
fn scramble(seed: u8, index: usize, bytes: &mut [u8]) {
    let start = (u64::from(seed) << 48) | index as u64;
    let mut state = start.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for chunk in bytes.chunks_mut(8) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let word = state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_follow_from_seed_and_index() {
        let pattern = Pattern {
            blocks: vec![Block::Data(1), Block::Data(1), Block::Data(2), Block::Data(0)],
            size: 3 * BLOCK + 5,
        };
        let bytes = pattern.bytes();
        assert_eq!(bytes.len() as u64, pattern.size);
        assert_eq!(bytes, pattern.clone().bytes());
        let blocks: Vec<_> = bytes.chunks(4096).collect();
        assert_ne!(blocks[0], blocks[1]);
        assert_ne!(blocks[1], blocks[2]);
        assert_eq!(blocks[3], [0; 5]);
    }

    #[test]
    fn the_last_byte_is_the_last_of_the_file() {
        let blocks = vec![Block::DataLastByte, Block::DataLastByte];
        let bytes = Pattern { blocks, size: BLOCK + 1 }.bytes();
        assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 2);
        assert_eq!((bytes[4095], bytes[4096]), (1, 1));
    }

    #[test]
    fn debug_shows_runs() {
        let pattern = Pattern::whole(vec![Block::Hole, Block::Hole, Block::Data(3)]);
        assert_eq!(
            format!("{pattern:?}"),
            "Pattern { size: 12288, blocks: [0..2 Hole, 2..3 Data(3)] }"
        );
    }
}
