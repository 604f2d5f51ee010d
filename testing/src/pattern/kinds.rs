//! The kinds of a file's blocks as the kernel tells them: FIEMAP, and `SEEK_DATA` on a tmpfs.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{SeekFrom, fstatfs, seek};
use rustix::io::Errno;

use super::{BLOCK, Kind, fiemap};

/// `TMPFS_MAGIC` from `linux/magic.h`.
const TMPFS_MAGIC: u32 = 0x0102_1994;

/// The kind of every block of a file, from its start to its size, after a sync. A block of which
/// only a part is allocated counts as allocated. A device is all `Data`.
///
/// # Panics
///
/// If the filesystem has no FIEMAP and is no tmpfs.
pub fn kinds_of(path: &Path) -> Vec<Kind> {
    let file = File::open(path).unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
    let size = seek(&file, SeekFrom::End(0)).expect("find the end");
    let blocks = size.div_ceil(BLOCK) as usize;
    if file.metadata().expect("stat").file_type().is_block_device() {
        return vec![Kind::Data; blocks];
    }
    let extents = if without_fiemap(&file) { sought(&file, size) } else { fiemap::extents(&file) };
    let mut kinds = vec![Kind::Hole; blocks];
    for (bytes, kind) in extents {
        // Preallocation may go on past the size.
        let last = (bytes.end.div_ceil(BLOCK) as usize).min(blocks);
        for block in kinds.iter_mut().take(last).skip((bytes.start / BLOCK) as usize) {
            if *block != Kind::Data {
                *block = kind;
            }
        }
    }
    kinds
}

/// Whether a file is on a filesystem that has no FIEMAP, and so no `Zero`: tmpfs.
pub(super) fn without_fiemap(file: &File) -> bool {
    fstatfs(file).expect("statfs").f_type as u32 == TMPFS_MAGIC
}

/// The data extents, in bytes, as `SEEK_DATA` and `SEEK_HOLE` find them.
fn sought(file: &File, size: u64) -> Vec<(Range<u64>, Kind)> {
    let mut extents = Vec::new();
    let mut offset = 0;
    while offset < size {
        let start = match seek(file, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(error) => panic!("seek data at {offset}: {error}"),
        };
        let end = seek(file, SeekFrom::Hole(start)).expect("seek the hole that follows data");
        extents.push((start..end, Kind::Data));
        offset = end;
    }
    extents
}

#[cfg(test)]
mod tests {
    use super::super::{Block, Pattern};
    use super::*;
    use crate::host::run;
    use crate::mount::{Fs, Mount};

    /// The allocated extents, in bytes, as `filefrag` lists them.
    fn listed(path: &Path) -> Vec<(Range<u64>, Kind)> {
        let output = run("filefrag", |command| {
            // Synced, verbose, in the form of extents, in units of one byte.
            command.args(["-s", "-v", "-e", "-b1", "--"]).arg(path)
        });
        let output = output.unwrap_or_else(|error| panic!("list the extents: {error}"));
        // The name of the file comes before and after the table.
        let table =
            output.lines().skip_while(|line| !line.trim_start().starts_with("ext:")).skip(1);
        table.map_while(extent).collect()
    }

    /// A line like `1:  8192..  16383:  53248..  61439:  8192:  40960: last,unwritten,eof`, where the
    /// number before the flags may be missing. `None` behind the table.
    fn extent(line: &str) -> Option<(Range<u64>, Kind)> {
        let fields: Vec<_> = line.split(':').map(str::trim).collect();
        let _number: u64 = fields.first()?.parse().ok()?;
        let (first, last) = fields.get(1)?.split_once("..")?;
        let first: u64 = first.trim().parse().ok()?;
        let last: u64 = last.trim().parse().ok()?;
        let unwritten = fields.last()?.split(',').any(|flag| flag == "unwritten");
        Some((first..last + 1, if unwritten { Kind::Zero } else { Kind::Data }))
    }

    /// More extents than are asked for at once, of every kind, on every filesystem that tells them.
    #[test]
    fn the_extents_are_those_that_filefrag_lists() {
        use Block::{Data, Hole, Zero};
        let blocks = [Data(1), Zero, Hole, Data(2), Hole, Zero, Data(3), Zero].repeat(120);
        let pattern = Pattern { size: 960 * BLOCK - 1000, blocks };
        for mount in [Fs::Ext4, Fs::Xfs, Fs::Btrfs].into_iter().filter_map(Mount::new) {
            let path = mount.path().join("image");
            pattern.write(&path);
            let told = fiemap::extents(&File::open(&path).unwrap());
            assert!(told.len() > 2 * fiemap::AT_ONCE, "{}: {}", mount.fs(), told.len());
            assert_eq!(told, listed(&path), "{}", mount.fs());
        }
    }

    #[test]
    fn lines_of_filefrag_are_understood() {
        let data = "   0:     4096..    8191:    9180160..   9184255:   4096:       4096:";
        assert_eq!(extent(data), Some((4096..8192, Kind::Data)));
        let data = "   2:    20480..   21503:    9196544..   9197567:   1024:             ";
        assert_eq!(extent(data), Some((20480..21504, Kind::Data)));
        let zero =
            "   1:     8192..   16383:    9184256..   9192447:   8192:             unwritten";
        assert_eq!(extent(zero), Some((8192..16384, Kind::Zero)));
        let zero = "   3: 40960..49151: 13647872..13656063: 8192: 13676544: last,unwritten,eof";
        assert_eq!(extent(zero), Some((40960..49152, Kind::Zero)));
        let inline = "   0:        0..      99:          0..         99:    100:  last,inline,eof";
        assert_eq!(extent(inline), Some((0..100, Kind::Data)));
        assert_eq!(extent("/a: 1..2: b: 3 extents found"), None);
    }
}
