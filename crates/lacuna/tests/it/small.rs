//! Images for a filesystem with blocks of a kilobyte.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use proptest::prelude::*;
use rustix::fs::{FallocateFlags, fallocate};

/// Pieces of a file, each of a kilobyte: a hole, unwritten, data, or zeros that were written; and the
/// bytes that the last one lacks.
pub(crate) fn small_pieces() -> impl Strategy<Value = (Vec<u8>, u64)> + Clone {
    (prop::collection::vec(0..4_u8, 1..200), 0..1024_u64)
}

pub(crate) fn write_small_pieces(path: &Path, (pieces, missing): &(Vec<u8>, u64)) {
    let file = File::create(path).unwrap();
    file.set_len(pieces.len() as u64 * 1024 - missing).unwrap();
    for (offset, piece) in (0..).step_by(1024).zip(pieces) {
        let len = if offset / 1024 + 1 == pieces.len() as u64 { 1024 - missing } else { 1024 };
        match piece {
            0 => {}
            1 => fallocate(&file, FallocateFlags::KEEP_SIZE, offset, 1024).unwrap(),
            2 => file.write_all_at(&vec![1; len as usize], offset).unwrap(),
            _ => file.write_all_at(&vec![0; len as usize], offset).unwrap(),
        }
    }
    file.sync_all().unwrap();
}
