//! Random chains, folded and pruned in random order until one layer is left: the chain reads the same
//! after each step, and each layer is what the oracle says.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use lacuna::fold::{self, FoldOptions};
use lacuna::prune::{self, PruneOptions};
use lacuna::{BLOCK, Reflink};
use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Kind, Pattern, strategy};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::oracle::{self, Layer};
use super::traps::set_extent_size;
use super::{
    Two, assert_nothing_hidden, at_rest, copying, folded, has_checksum, pruned, put_checksum,
};
use crate::content::Content;
use crate::{IO_MODES, for_all, mount_with};

/// A layer as it is made: a pattern, and changes to single kilobytes for filesystems of such blocks.
pub(super) type Made = (Pattern, Vec<(Index, u8)>);

#[derive(Clone, Debug)]
enum Step {
    Fold(Index, FoldOptions),
    Prune(Index),
}

pub(super) fn layer() -> impl Strategy<Value = Made> + Clone {
    let pattern = prop_oneof![4 => strategy(40), 1 => strategy(300)];
    (pattern, vec((any::<Index>(), 0..3_u8), 0..5))
}

/// From the base to the tip: none is larger than the one above it, and often all are of one size.
pub(super) fn layers(most: usize) -> impl Strategy<Value = Vec<Made>> + Clone {
    (vec(layer(), 2..=most), any::<bool>()).prop_map(|(mut layers, same)| {
        layers.sort_by_key(|(pattern, _)| pattern.size);
        let tip = layers.last().expect("a tip").0.clone();
        for (pattern, _) in layers.iter_mut().filter(|_| same) {
            pattern.blocks.resize(tip.blocks.len(), Block::Hole);
            pattern.size = tip.size;
        }
        layers
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> + Clone {
    let io = prop::sample::select(IO_MODES.to_vec());
    let threads = prop::sample::select(vec![1, 2, 4]);
    let reflink = prop_oneof![Just(Reflink::Auto), Just(Reflink::Never)];
    let options = (io, threads, reflink, any::<bool>()).prop_map(|(io, threads, reflink, free)| {
        FoldOptions { io, threads, reflink, free, force_layer: false }
    });
    let step = prop_oneof![
        3 => (any::<Index>(), options).prop_map(|(at, options)| Step::Fold(at, options)),
        2 => any::<Index>().prop_map(Step::Prune),
    ];
    vec(step, 1..=6)
}

/// Files, and what they must hold, base first.
struct Chain {
    paths: Vec<PathBuf>,
    layers: Vec<Layer>,
}

impl Chain {
    /// The layers in turn in each of the directories.
    fn make(made: &[Made], directories: &[PathBuf]) -> Self {
        let (mut paths, mut layers) = (vec![], vec![]);
        for (index, (pattern, changes)) in made.iter().enumerate() {
            let directory = &directories[index % directories.len()];
            let path = directory.join(format!("layer-{index}.img"));
            layers.push(make(&path, pattern, changes));
            paths.push(path);
        }
        Self { paths, layers }
    }

    fn read(layers: &[Layer]) -> Vec<u8> {
        let tip_first: Vec<_> = layers.iter().rev().cloned().collect();
        oracle::read(&tip_first)
    }

    #[track_caller]
    fn check(&self, read: &[u8], what: &str) {
        for (path, layer) in self.paths.iter().zip(&self.layers) {
            let what = format!("{} {what}", path.file_name().unwrap().display());
            Content::of(path).assert_is(&layer.content(), what);
            assert_nothing_hidden(path.parent().unwrap());
        }
        let seen: Vec<_> = self.paths.iter().map(|path| Layer::seen(path)).collect();
        assert!(Self::read(&seen) == read, "the chain {what}");
    }

    /// Folds a child into its parent, which then takes the child's place.
    fn fold(&mut self, parent: usize, options: &FoldOptions, read: &[u8]) {
        let paths = [self.paths[parent + 1].clone(), self.paths[parent].clone()];
        let [child_path, parent_path] = &paths;
        let child = self.layers[parent + 1].clone();
        put_checksum(parent_path);
        let plan = || Ok(fold::plan(child_path, parent_path, options)?);
        let planned = at_rest(&[child_path, parent_path], plan).unwrap();

        let stats = folded(child_path, parent_path, options);

        let changes = child != self.layers[parent] && !is_empty(&child);
        assert!(!(changes && has_checksum(parent_path)), "a stale checksum");
        let _ = std::fs::remove_file(lacuna::checksum_file::path_of(parent_path));
        assert_eq!((planned.size_bytes, planned.kinds), (stats.size_bytes, stats.kinds));
        assert_eq!(stats.kinds.data_bytes, child.bytes_of(Kind::Data));
        assert_eq!(stats.kinds.zero_bytes, child.bytes_of(Kind::Zero));
        assert_eq!(stats.written_bytes + stats.reflinked_bytes, stats.kinds.data_bytes);
        assert!(stats.reflinked_bytes <= planned.reflink_bytes, "{stats:?} {planned:?}");
        assert!(stats.reflinked_bytes + 4096 > planned.reflink_bytes, "{stats:?} {planned:?}");
        self.layers[parent].fold(&child);
        if options.free {
            self.layers[parent + 1].clear();
        }
        self.check(read, "after a fold");
        // The engine would rename; two directories may be two filesystems.
        std::fs::remove_file(child_path).unwrap();
        self.layers.remove(parent + 1);
        self.paths.remove(parent + 1);
        self.check(read, "without the child");
    }

    fn prune(&mut self, parent: usize, read: &[u8]) {
        let [parent_path, child_path] = [&self.paths[parent], &self.paths[parent + 1]];
        let child = self.layers[parent + 1].clone();
        let plan = || Ok(prune::plan(parent_path, child_path, &PruneOptions::default())?);
        let planned = at_rest(&[child_path, parent_path], plan).unwrap();

        let stats = pruned(parent_path, child_path);

        assert_eq!(stats.hidden_bytes, self.layers[parent].hidden_bytes(&child));
        assert_eq!(
            (planned.size_bytes, planned.hidden_bytes, planned.hidden_ranges),
            (stats.size_bytes, stats.hidden_bytes, stats.hidden_ranges)
        );
        self.layers[parent].prune(&child);
        self.check(read, "after a prune");
    }
}

/// Makes the file of a layer.
pub(super) fn make(path: &Path, pattern: &Pattern, changes: &[(Index, u8)]) -> Layer {
    pattern.write(path);
    let small = statvfs(path).unwrap().f_frsize < 4096;
    if !small || pattern.size < 1024 {
        return Layer::of(pattern);
    }
    changes.iter().for_each(|change| change_a_kilobyte(path, pattern.size, change));
    Layer::seen(path)
}

fn is_empty(layer: &Layer) -> bool {
    layer.bytes_of(Kind::Data) + layer.bytes_of(Kind::Zero) == 0
}

/// Punches, preallocates or writes one kilobyte, as far as the file has it.
fn change_a_kilobyte(path: &Path, size: u64, (at, how): &(Index, u8)) {
    let file = File::options().write(true).open(path).unwrap();
    let offset = at.index((size / 1024) as usize) as u64 * 1024;
    let keep = FallocateFlags::KEEP_SIZE;
    match how {
        0 => fallocate(&file, FallocateFlags::PUNCH_HOLE | keep, offset, 1024).unwrap(),
        1 => fallocate(&file, FallocateFlags::ZERO_RANGE | keep, offset, 1024).unwrap(),
        _ => file.write_all_at(&[7; 1024], offset).unwrap(),
    }
    file.sync_all().unwrap();
}

/// Tries random chains whose layers stand in turn on each of the mounts.
fn compare(cases: u32, mounts: &[Option<Mount>]) {
    let mut directories = vec![];
    for mount in mounts {
        let Some(mount) = mount else { return };
        let directory = mount.path().join("chain");
        std::fs::create_dir(&directory).unwrap();
        directories.push(directory);
    }
    for_all(cases, (layers(5), steps()), |(made, steps)| {
        for directory in &directories {
            std::fs::remove_dir_all(directory).unwrap();
            std::fs::create_dir(directory).unwrap();
        }
        let mut chain = Chain::make(&made, &directories);
        let read = Chain::read(&chain.layers);
        chain.check(&read, "as it was made");
        for step in steps {
            let pairs = chain.layers.len() - 1;
            match step {
                _ if pairs == 0 => return,
                Step::Fold(at, options) => chain.fold(at.index(pairs), &options, &read),
                Step::Prune(at) => chain.prune(at.index(pairs), &read),
            }
        }
    });
}

#[test]
fn a_chain_on_ext4_reads_the_same() {
    compare(10, &[Mount::new(Fs::Ext4)]);
}

#[test]
fn a_chain_on_ext4_with_smaller_blocks_reads_the_same() {
    compare(8, &[mount_with(Fs::Ext4, &["-b", "1024"])]);
}

#[test]
fn a_chain_on_xfs_reads_the_same() {
    compare(12, &[Mount::new(Fs::Xfs)]);
}

#[test]
fn a_chain_on_xfs_with_smaller_blocks_reads_the_same() {
    compare(8, &[mount_with(Fs::Xfs, &["-b", "size=1024"])]);
}

#[test]
fn a_chain_on_xfs_with_an_extent_size_hint_reads_the_same() {
    compare(10, &[mount_with(Fs::Xfs, &["-d", "extszinherit=16"])]);
}

/// Rounds are cut wherever that falls within the runs of the child and the units of the parent.
#[test]
fn a_fold_into_any_extent_size_hint_leaves_nothing_out() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    let kind =
        prop::sample::select(std::vec![Block::Data(1), Block::Data(1), Block::Zero, Block::Hole]);
    let runs = || vec((kind.clone(), prop_oneof![1..9_usize, 1..900_usize]), 1..9);
    let hint = prop::sample::select(std::vec![2, 3, 7, 16, 17, 256, 300]);
    for_all(12, (runs(), runs(), hint, any::<bool>()), |(child, parent, hint, free)| {
        let blocks = |runs: Vec<(Block, usize)>| {
            let blocks = |(block, length)| std::iter::repeat_n(block, length);
            runs.into_iter().flat_map(blocks).collect::<Vec<_>>()
        };
        let (child, mut parent) = (Pattern::whole(blocks(child)), blocks(parent));
        parent.truncate(child.blocks.len());
        let mut two = Two::on(&mount, &child, &Pattern::whole(Vec::new()));
        set_extent_size(&two.parent, hint * BLOCK);
        Pattern::whole(parent).write_over(&two.parent);
        two.look();
        two.fold(&FoldOptions { free, ..copying() });
    });
}

#[test]
fn a_chain_on_btrfs_reads_the_same() {
    compare(8, &[Mount::new(Fs::Btrfs)]);
}

#[test]
fn a_chain_on_compressed_btrfs_reads_the_same() {
    let mount = vec!["compress-force=zstd".to_owned()];
    let options = MountOptions { mount, ..MountOptions::default() };
    compare(8, &[Mount::with(Fs::Btrfs, &options)]);
}

#[test]
fn a_chain_across_filesystems_reads_the_same() {
    compare(6, &[Mount::new(Fs::Ext4), Mount::new(Fs::Xfs), Mount::new(Fs::Btrfs)]);
}
