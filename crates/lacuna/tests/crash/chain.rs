//! A chain of layers, something that is done to it, and what must be the case after that, whether it
//! came to its end or not.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use lacuna::dig::{self, DigOptions};
use lacuna::fold::{self, FoldOptions};
use lacuna::prune::{self, PruneOptions};
use lacuna::{Cancel, Progress, Result};
use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{BLOCK, Block, Kind, Pattern};
use rustix::fs::{FallocateFlags, fallocate, fstatvfs, syncfs};

use crate::content::Content;
use crate::scenario::{check_checksum, names, write_checksum};

/// The layers, base first.
const NAMES: [&str; 3] = ["base.img", "parent.img", "child.img"];

/// What marks the parent.
const MARK: &str = ".parent.img.lacuna-unfinished";

/// What is done to the last layers of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Fold,
    FoldFree,
    Prune,
    /// Of an image that is no layer: the only one there is.
    Dig,
}

impl Operation {
    pub(crate) const ALL: [Self; 4] = [Self::Fold, Self::FoldFree, Self::Prune, Self::Dig];

    /// Does it to the layers in `directory`, on one thread, so that the steps keep their order.
    pub(crate) fn run(self, directory: &Path) -> Result<()> {
        let (progress, cancel) = (Progress::default(), Cancel::default());
        let [base, parent, child] = NAMES.map(|name| directory.join(name));
        match self {
            Self::Fold | Self::FoldFree => {
                let free = self == Self::FoldFree;
                let options = FoldOptions { threads: 1, free, ..FoldOptions::default() };
                let folded = fold::apply(&child, &parent, &options, &progress, &cancel);
                folded.map(drop).map_err(|stopped| stopped.cause)
            }
            Self::Prune => {
                let options = PruneOptions::default();
                let pruned = prune::apply(&parent, &child, &options, &progress, &cancel);
                pruned.map(drop).map_err(|stopped| stopped.cause)
            }
            Self::Dig => {
                let options = DigOptions { threads: 1, ..DigOptions::default() };
                dig::apply(&base, &options, &progress, &cancel).map(drop)
            }
        }
    }

    /// What the layers are afterwards.
    fn expected(self, layers: &[Content]) -> Vec<Content> {
        let mut layers = layers.to_vec();
        match (self, &mut layers[..]) {
            (Self::Dig, [image]) => {
                let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
                clear(image, |image, block| zero(&image.bytes[bytes_of(block, &image.bytes)]));
            }
            (Self::Prune, [_, parent, child]) => {
                grow(parent, child.bytes.len());
                clear(parent, |_, block| child.kinds[block] != Kind::Hole);
            }
            (Self::Fold | Self::FoldFree, [_, parent, child]) => {
                grow(parent, child.bytes.len());
                overlay(parent, child);
                if self == Self::FoldFree {
                    clear(child, |_, _| true);
                }
            }
            (_, layers) => panic!("{self:?} of {} layers", layers.len()),
        }
        layers
    }
}

/// The bytes of a block of an image.
fn bytes_of(block: usize, image: &[u8]) -> Range<usize> {
    let start = block * BLOCK as usize;
    start.min(image.len())..(start + BLOCK as usize).min(image.len())
}

pub(crate) fn grow(layer: &mut Content, size: usize) {
    layer.bytes.resize(size, 0);
    layer.kinds.resize(size.div_ceil(BLOCK as usize), Kind::Hole);
}

fn clear(layer: &mut Content, chosen: impl Fn(&Content, usize) -> bool) {
    for block in 0..layer.kinds.len() {
        if chosen(layer, block) {
            let bytes = bytes_of(block, &layer.bytes);
            layer.bytes[bytes].fill(0);
            layer.kinds[block] = Kind::Hole;
        }
    }
}

/// What `upper` has hides what `lower` has, which is no shorter.
pub(crate) fn overlay(lower: &mut Content, upper: &Content) {
    for (block, kind) in upper.kinds.iter().enumerate().filter(|(_, kind)| **kind != Kind::Hole) {
        let bytes = bytes_of(block, &lower.bytes);
        lower.bytes[bytes].fill(0);
        let bytes = bytes_of(block, &upper.bytes);
        lower.bytes[bytes.clone()].copy_from_slice(&upper.bytes[bytes]);
        lower.kinds[block] = *kind;
    }
}

/// What is read through the layers, base first: the newest one with anything at a block.
pub(crate) fn read(layers: &[Content]) -> Vec<u8> {
    let size = layers.last().map_or(0, |newest| newest.bytes.len());
    let mut chain = Content { bytes: vec![], kinds: vec![] };
    grow(&mut chain, size);
    layers.iter().for_each(|layer| overlay(&mut chain, layer));
    chain.bytes
}

/// A chain on a filesystem of its own.
pub(crate) struct Chain {
    pub(crate) mount: Mount,
    pub(crate) operation: Operation,
    patterns: Vec<Pattern>,
    /// Whether there is space allocated past the end of the layers.
    preallocated: bool,
    before: Vec<Content>,
    after: Vec<Content>,
    /// The files that are left in the end.
    names: Vec<String>,
}

impl Chain {
    /// `None` where there is no such filesystem.
    pub(crate) fn new(fs: Fs, operation: Operation, patterns: &[Pattern]) -> Option<Self> {
        let options = MountOptions { size_mib: 16, ..MountOptions::default() };
        let chain = Self::on(Mount::with(fs, &options)?, operation, patterns);
        Some(Self { preallocated: true, ..chain })
    }

    pub(crate) fn on(mount: Mount, operation: Operation, patterns: &[Pattern]) -> Self {
        std::fs::create_dir(mount.path().join("chain")).unwrap();
        let content = |layer: &Pattern| Content { bytes: layer.bytes(), kinds: layer.kinds() };
        let before: Vec<_> = patterns.iter().map(content).collect();
        let after = operation.expected(&before);
        assert!(read(&after) == read(&before), "the oracle is wrong");
        let checksums = before.iter().zip(&after).zip(NAMES);
        let checksums = checksums.filter(|((before, after), _)| before == after);
        let checksums = checksums.map(|(_, name)| format!("{name}.checksum"));
        let images = NAMES[..patterns.len()].iter().map(|name| (*name).to_owned());
        let mut names: Vec<_> = checksums.chain(images).collect();
        names.sort();
        Self {
            mount,
            operation,
            patterns: patterns.to_vec(),
            preallocated: false,
            before,
            after,
            names,
        }
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.mount.path().join("chain")
    }

    fn paths(&self) -> impl Iterator<Item = PathBuf> {
        NAMES[..self.patterns.len()].iter().map(|name| self.directory().join(name))
    }

    /// Leaves this much of the filesystem free, once the layers are there.
    pub(crate) fn fill(&self, leave: u64) {
        self.prepare();
        let file = File::create(self.mount.path().join("filler")).unwrap();
        let space = fstatvfs(&file).unwrap();
        let taken = space.f_bfree * space.f_frsize - leave;
        fallocate(&file, FallocateFlags::empty(), 0, taken).unwrap();
    }

    /// Puts every layer back to what it is at first, with a `.checksum` that is right, durably.
    pub(crate) fn prepare(&self) {
        for name in names(&self.directory()) {
            std::fs::remove_file(self.directory().join(name)).unwrap();
        }
        for (path, pattern) in self.paths().zip(&self.patterns) {
            pattern.write(&path);
            // btrfs makes a last block that is partial data then.
            let spoilt = self.mount.fs() == Fs::Btrfs
                && pattern.blocks.last().is_some_and(|block| block.kind() != Kind::Data);
            if self.preallocated && !spoilt {
                preallocate_past_the_end(&path, pattern);
            }
            write_checksum(&path);
        }
        syncfs(File::open(self.directory()).unwrap()).unwrap();
    }

    #[track_caller]
    pub(crate) fn assert_prepared(&self) {
        for (path, wanted) in self.paths().zip(&self.before) {
            Content::of(&path).assert_is(wanted, path.display());
        }
    }

    pub(crate) fn run(&self) -> Result<()> {
        self.operation.run(&self.directory())
    }

    pub(crate) fn is_marked(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let mark = self.directory().join(MARK);
        move || mark.exists()
    }

    /// After the operation was interrupted, or was not: nothing is lost, nothing passes for what it is
    /// not, and what was `reported` done is.
    #[track_caller]
    pub(crate) fn check(&self, reported: bool, what: &str) {
        let now: Vec<_> = self.paths().map(|path| Content::of(&path)).collect();
        if let Some(at) = differ(&read(&now), &read(&self.before)) {
            panic!("{what}: the chain reads differently in block {at}");
        }
        for (path, now) in self.paths().zip(&now) {
            check_checksum(&path, now, what);
        }
        if let ([base, parent, _], [was, before, _], [_, after, _]) =
            (&now[..], &self.before[..], &self.after[..])
        {
            base.assert_is(was, format!("{what}: the layer below"));
            let is_old = parent.difference(before).is_none();
            let wrong = parent.difference(after).filter(|_| !is_old && !self.is_marked()());
            assert!(wrong.is_none(), "{what}: unmarked, not what it was, and {wrong:?}");
        }
        if reported {
            self.assert_done(what);
        }
    }

    #[track_caller]
    fn assert_done(&self, what: &str) {
        for (path, wanted) in self.paths().zip(&self.after) {
            Content::of(&path).assert_is(wanted, format!("{what}: {}", path.display()));
        }
        assert_eq!(names(&self.directory()), self.names, "{what}");
    }

    /// The same again ends as if nothing had happened.
    #[track_caller]
    pub(crate) fn complete(&self, what: &str) {
        let what = format!("{what}: the second time");
        self.run().unwrap_or_else(|error| panic!("{what}: {error:?}"));
        self.check(true, &what);
    }
}

/// The first block in which two images differ.
pub(crate) fn differ(a: &[u8], b: &[u8]) -> Option<usize> {
    let blocks = a.len().max(b.len()).div_ceil(BLOCK as usize);
    (0..blocks).find(|&block| a[bytes_of(block, a)] != b[bytes_of(block, b)])
}

/// As XFS does for a file that is appended to: when the file grows, this comes into sight.
fn preallocate_past_the_end(path: &Path, pattern: &Pattern) {
    let file = File::options().write(true).open(path).unwrap();
    let end = pattern.size.next_multiple_of(BLOCK);
    fallocate(&file, FallocateFlags::KEEP_SIZE, end, 16 * BLOCK).unwrap();
    file.sync_all().unwrap();
}

/// A base, a parent that is shorter than its child, and the child: every kind over every other, a
/// long run, and ends that are no multiple of a block. The parent ends in `parent_end`, where the child
/// has nothing and the base has data, the child in `child_end`.
pub(crate) fn layers(parent_end: Block, child_end: Block) -> Vec<Pattern> {
    use Block::{Data, DataLastByte, Hole, Zero};
    let (each, long) = ([Hole, Zero, Data(1)], 17);
    let every = |seed| each.map(|block| if block == Data(1) { Data(seed) } else { block });
    let parent = [each.map(|block| vec![block; 3]).concat(), vec![Hole; long], vec![Data(0)]];
    let child = [every(2).repeat(3), vec![Data(3); long], vec![DataLastByte]];
    let base = [vec![Data(4); 5], vec![Zero, Hole], vec![Data(4); 2 + long], vec![Hole, Data(5)]];
    let parent = [parent.concat(), vec![parent_end]].concat();
    let child = [child.concat(), vec![Hole, Data(0), Zero, Hole, Data(6), child_end]].concat();
    [base.concat(), parent, child].map(partial).to_vec()
}

/// With a last block that is not whole.
pub(crate) fn partial(blocks: Vec<Block>) -> Pattern {
    let whole = Pattern::whole(blocks);
    Pattern { size: whole.size - 1234, ..whole }
}
