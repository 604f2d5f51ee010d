//! The BLAKE3 of a chunk from what is known of its blocks.
//!
//! BLAKE3 is a tree: the chaining value of a block depends on its bytes and its place in the chunk alone,
//! and the digest of the chunk follows from those of its blocks. So a chunk of which some blocks change
//! need not be read again.

use blake3::Hasher;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::extent::BLOCK;

/// The BLAKE3 of a whole chunk.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// The chaining value of the block `bytes`, the one at `index` of its chunk, which has more blocks than
/// this.
pub fn chaining_value(bytes: &[u8], index: u64) -> [u8; 32] {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(index * BLOCK);
    hasher.update(bytes);
    hasher.finalize_non_root()
}

/// The BLAKE3 of a chunk with these chaining values; `None` where there is one block or none, which is
/// no tree.
pub fn root(values: &[[u8; 32]]) -> Option<[u8; 32]> {
    if values.len() < 2 {
        return None;
    }
    let (left, right) = halves(values);
    Some(*merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).as_bytes())
}

fn subtree(values: &[[u8; 32]]) -> [u8; 32] {
    match values {
        [value] => *value,
        _ => {
            let (left, right) = halves(values);
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// The left subtree is the largest that is complete and leaves something.
fn halves(values: &[[u8; 32]]) -> (&[[u8; 32]], &[[u8; 32]]) {
    values.split_at(values.len().next_power_of_two() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that differ from block to block.
    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8 ^ (at >> 12) as u8).collect()
    }

    fn values(bytes: &[u8]) -> Vec<[u8; 32]> {
        let blocks = bytes.chunks(BLOCK as usize).zip(0..);
        blocks.map(|(block, index)| chaining_value(block, index)).collect()
    }

    #[test]
    fn the_root_is_the_blake3_of_the_chunk() {
        for len in [4097, 8191, 8192, 8193, 3 * 4096, 5 * 4096 + 1, 13 * 4096 - 1, 64 << 10] {
            let bytes = bytes(len);
            assert_eq!(root(&values(&bytes)), Some(*blake3::hash(&bytes).as_bytes()), "{len}");
        }
    }

    #[test]
    fn a_block_that_changes_is_all_that_is_hashed_again() {
        let mut bytes = bytes(64 << 10);
        let mut values = values(&bytes);
        bytes[7 * 4096..8 * 4096].fill(1);
        values[7] = chaining_value(&bytes[7 * 4096..8 * 4096], 7);
        assert_eq!(root(&values), Some(*blake3::hash(&bytes).as_bytes()));
        assert_eq!((root(&values[..1]), root(&[])), (None, None));
    }
}
