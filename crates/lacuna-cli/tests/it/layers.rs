//! A child layer and its parent, and what a chain of the two reads as.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use lacuna_testing::pattern::{BLOCK, Block, Kind, Pattern, kinds_of};

/// Two layers as files.
pub(crate) struct Layers {
    pub(crate) child: PathBuf,
    pub(crate) parent: PathBuf,
}

/// What tells that a file was not touched.
type Seen = (Vec<u8>, Vec<Kind>, (i64, i64), Vec<String>);

impl Layers {
    /// In every pairing of kinds, some runs long enough to be shared; the parent is the smaller one.
    pub(crate) fn new(directory: &Path) -> Self {
        use Block::{Data, Hole, Zero};
        let layers = Self::at(directory);
        let mut child = vec![Data(1); 80];
        child.extend([Zero; 20]);
        child.extend([Hole; 20]);
        child.extend([Data(2), Data(2), Zero, Hole, Data(0), Data(3), Hole]);
        let mut parent = vec![Data(9); 40];
        parent.extend([Hole; 40]);
        parent.extend([Data(8); 10]);
        parent.extend([Hole; 10]);
        parent.extend([Data(7); 10]);
        parent.extend([Zero, Zero, Hole, Hole, Hole, Hole, Hole, Hole, Hole, Hole]);
        parent.extend([Hole, Zero, Zero]);
        Pattern { size: child.len() as u64 * BLOCK - 100, blocks: child }.write(&layers.child);
        Pattern::whole(parent).write(&layers.parent);
        layers
    }

    /// The names alone.
    pub(crate) fn at(directory: &Path) -> Self {
        Self { child: directory.join("child.img"), parent: directory.join("parent.img") }
    }

    /// A child of `mib` MiB of data over a parent that has some of its own.
    pub(crate) fn large(directory: &Path, mib: u64) -> Self {
        let layers = Self::at(directory);
        let write = |path: &Path, from: u64, byte: u64| {
            let file = std::fs::File::create(path).unwrap();
            file.set_len((mib + 8) << 20).unwrap();
            for n in from..from + mib {
                file.write_all_at(&vec![(n + byte) as u8 | 1; 1 << 20], n << 20).unwrap();
            }
            file.sync_all().unwrap();
        };
        write(&layers.child, 0, 0);
        write(&layers.parent, 8, 77);
        layers
    }

    /// What the chain reads as, block by block: the child wherever it has anything.
    pub(crate) fn read(&self) -> Vec<u8> {
        let (mut bytes, kinds) = (std::fs::read(&self.child).unwrap(), kinds_of(&self.child));
        let below = std::fs::read(&self.parent).unwrap();
        for (index, _) in kinds.iter().enumerate().filter(|(_, kind)| **kind == Kind::Hole) {
            let start = index * BLOCK as usize;
            let end = (start + BLOCK as usize).min(bytes.len());
            for (at, byte) in bytes[start..end].iter_mut().enumerate() {
                *byte = below.get(start + at).copied().unwrap_or(0);
            }
        }
        bytes
    }

    /// The kinds that the parent is to have after a fold.
    pub(crate) fn folded_kinds(&self) -> Vec<Kind> {
        let below = kinds_of(&self.parent);
        let kept = |index: usize| below.get(index).copied().unwrap_or(Kind::Hole);
        let kinds = kinds_of(&self.child).into_iter().enumerate();
        kinds.map(|(index, kind)| if kind == Kind::Hole { kept(index) } else { kind }).collect()
    }

    /// The kinds that the parent is to have after a prune.
    pub(crate) fn pruned_kinds(&self) -> Vec<Kind> {
        let below = kinds_of(&self.parent);
        let kept = |index: usize| below.get(index).copied().unwrap_or(Kind::Hole);
        let kinds = kinds_of(&self.child).into_iter().enumerate();
        kinds
            .map(|(index, kind)| if kind == Kind::Hole { kept(index) } else { Kind::Hole })
            .collect()
    }

    /// Writes what a chain says of the two: `child`'s parent is `parent`.
    pub(crate) fn describe(&self, parent: &str) {
        let text = format!("{{\"Name\":\"x\",\"Parent\":\"{parent}\",\"Removed\":false}}\n");
        std::fs::write(format!("{}.meta", self.child.display()), text).unwrap();
    }

    /// The mark of an unfinished parent.
    pub(crate) fn mark(&self) -> PathBuf {
        self.parent.with_file_name(".parent.img.lacuna-unfinished")
    }

    /// Both files as they are, and what lies beside them.
    pub(crate) fn seen(&self) -> [Seen; 2] {
        [&self.child, &self.parent].map(|path| {
            let metadata = std::fs::metadata(path).unwrap();
            let changed = (metadata.mtime(), metadata.mtime_nsec());
            let names = crate::common::names(path.parent().unwrap());
            (std::fs::read(path).unwrap(), kinds_of(path), changed, names)
        })
    }
}
