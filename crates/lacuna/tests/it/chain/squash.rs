//! Random chains of which a part becomes one layer: that layer and what is read through every tip are what the
//! oracle says.

use std::path::{Path, PathBuf};

use lacuna::chain::Replica;
use lacuna::chain::squash::{self, Span, SquashOptions, SquashPlan, SquashStats};
use lacuna::{Cancel, Progress, Reflink, Stopped, checksum_file};
use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Kind, Pattern};
use lacuna_testing::replica::{self, Meta};
use proptest::prelude::*;
use proptest::sample::Index;

use super::oracle::{self, Layer};
use super::properties::{Made, layer, layers, make};
use super::{assert_nothing_hidden, at_rest, has_checksum, names, put_checksum};
use crate::content::Content;
use crate::{IO_MODES, for_all, mount_with};

pub(super) fn try_squash(span: &Span, options: &SquashOptions) -> Result<SquashStats, Stopped> {
    let (progress, cancel) = (Progress::default(), Cancel::default());
    let paths = files(span);
    let paths: Vec<_> = paths.iter().map(PathBuf::as_path).collect();
    at_rest(&paths, || squash::apply(span, options, &progress, &cancel))
}

pub(super) fn planned(span: &Span, options: &SquashOptions) -> Result<SquashPlan, Stopped> {
    let paths = files(span);
    let paths: Vec<_> = paths.iter().map(PathBuf::as_path).collect();
    at_rest(&paths, || Ok(squash::plan(span, options)?))
}

/// What a squash may have to do with.
pub(super) fn files(span: &Span) -> Vec<PathBuf> {
    match span {
        Span::Replica { directory, .. } => {
            names(directory).into_iter().map(|name| directory.join(name)).collect()
        }
        Span::Files(paths) => paths.clone(),
    }
}

#[track_caller]
pub(super) fn squashed(span: &Span, options: &SquashOptions) -> SquashStats {
    let done = try_squash(span, options);
    done.unwrap_or_else(|error| panic!("squash: {}", lacuna::describe(&error)))
}

/// A layer of a tree.
struct Node {
    file: String,
    parent: String,
    layer: Layer,
}

/// A line of layers, and a branch off the newest of those that become one, and off the one below them.
struct Tree {
    directory: PathBuf,
    nodes: Vec<Node>,
}

impl Tree {
    fn make(directory: &Path, line: &[Made], twigs: [&Made; 2], span: (usize, usize)) -> Self {
        std::fs::create_dir(directory).unwrap();
        let made = replica::Replica::line(line.iter().map(|made| made.0.clone()).collect());
        let mut layers = made.layers.clone();
        let off = |at: usize, file: &str, (pattern, _): &Made| replica::Layer {
            file: file.to_owned(),
            parent: made.layers[at].file.clone(),
            pattern: sized(pattern, &made.layers[at].pattern),
            meta: Meta::ParentOnly,
        };
        layers.push(off(span.1, "volume-snap-above.img", twigs[0]));
        if let Some(below) = span.0.checked_sub(1) {
            layers.push(off(below, "volume-snap-beside.img", twigs[1]));
        }
        replica::Replica { layers: layers.clone(), ..made }.write(directory);
        let none = vec![];
        let nodes = layers.into_iter().enumerate().map(|(at, layer)| {
            let changes = line.get(at).map_or(&none, |made| &made.1);
            let path = directory.join(&layer.file);
            let made = make(&path, &layer.pattern, changes);
            put_checksum(&path);
            Node { file: layer.file, parent: layer.parent, layer: made }
        });
        Self { directory: directory.to_owned(), nodes: nodes.collect() }
    }

    fn path(&self, node: &Node) -> PathBuf {
        self.directory.join(&node.file)
    }

    /// What is read through each layer.
    fn read(&self) -> Vec<(String, Vec<u8>)> {
        let find = |name: &str| self.nodes.iter().find(|node| node.file == name);
        let read = |node: &Node| {
            let mut chain = vec![node.layer.clone()];
            let mut parent = find(&node.parent);
            while let Some(below) = parent {
                chain.push(below.layer.clone());
                parent = find(&below.parent);
            }
            (node.file.clone(), oracle::read(&chain))
        };
        self.nodes.iter().map(read).collect()
    }

    /// Makes one of those at `from` to `to`.
    fn squash(&mut self, from: usize, to: usize) {
        let mut layer = self.nodes[from].layer.clone();
        self.nodes[from + 1..=to].iter().for_each(|above| layer.fold(&above.layer));
        let parent = self.nodes[from].parent.clone();
        self.nodes[to] = Node { layer, parent, file: self.nodes[to].file.clone() };
        self.nodes.drain(from..to);
    }

    #[track_caller]
    fn check(&self, squashed: &str) {
        assert_nothing_hidden(&self.directory);
        let seen = Replica::open(&self.directory).unwrap();
        let mut expected = vec!["revision.counter".to_owned(), "volume.meta".to_owned()];
        for node in &self.nodes {
            Content::of(&self.path(node)).assert_is(&node.layer.content(), &node.file);
            assert_eq!(seen.layers()[&node.file].parent, node.parent, "{}", node.file);
            let is_new = node.file == squashed;
            assert_eq!(has_checksum(&self.path(node)), !is_new, "{}", node.file);
            expected.push(node.file.clone());
            expected.push(format!("{}.meta", node.file));
            expected.extend((!is_new).then(|| format!("{}.checksum", node.file)));
        }
        expected.sort();
        assert_eq!(names(&self.directory), expected);
    }
}

/// The same blocks, as far as another goes.
fn sized(pattern: &Pattern, like: &Pattern) -> Pattern {
    let mut blocks = pattern.blocks.clone();
    blocks.resize(like.blocks.len(), Block::Hole);
    Pattern { blocks, size: like.size }
}

fn options() -> impl Strategy<Value = SquashOptions> + Clone {
    let io = prop::sample::select(IO_MODES.to_vec());
    let reflink = prop_oneof![Just(Reflink::Auto), Just(Reflink::Never)];
    (io, 1..=3_usize, reflink, any::<bool>())
        .prop_map(|(io, threads, reflink, free)| SquashOptions { io, threads, reflink, free })
}

fn check_on(mount: Option<Mount>, cases: u32) {
    let Some(mount) = mount else { return };
    let directory = mount.path().join("replica");
    let span = (any::<Index>(), any::<Index>(), any::<bool>());
    let twigs = (layer(), layer());
    let values = (layers(8), twigs, span, options());
    for_all(cases, values, |(line, twigs, (from, to, listed), options)| {
        let from = from.index(line.len() - 1);
        let to = from + 1 + to.index(line.len() - 1 - from);
        let mut tree = Tree::make(&directory, &line, [&twigs.0, &twigs.1], (from, to));
        let (before, new) = (tree.read(), tree.nodes[to].file.clone());
        let span = match listed {
            false => Span::Replica {
                directory: directory.clone(),
                old: tree.nodes[from].file.clone(),
                new: new.clone(),
            },
            true => Span::Files(
                tree.nodes[from..=to].iter().map(|node| forget(&tree.path(node))).collect(),
            ),
        };
        let metas: Vec<_> =
            tree.nodes.iter().map(|node| (node.file.clone(), node.parent.clone())).collect();
        let planned = planned(&span, &options).unwrap();
        let stats = squashed(&span, &options);
        assert_eq!((&planned.fold.kinds, &planned.removed), (&stats.fold.kinds, &stats.removed));
        let moved = stats.fold.written_bytes + stats.fold.reflinked_bytes;
        assert_eq!(moved, stats.fold.kinds.data_bytes, "each block once");
        assert!(!planned.only_removed && !stats.only_removed);
        if listed {
            describe(&directory, &metas, &tree.nodes[from].parent, &new);
        }
        tree.squash(from, to);
        tree.check(&new);
        let after = tree.read();
        assert!(after.iter().all(|read| before.contains(read)), "a tip reads differently");
        assert!(try_squash(&span, &options).is_err(), "there is nothing left of it");
        std::fs::remove_dir_all(&directory).unwrap();
    });
}

/// Hides the description of a directory from a squash of a list.
fn forget(image: &Path) -> PathBuf {
    for path in names(image.parent().unwrap()) {
        let path = image.with_file_name(path);
        if path.extension().is_some_and(|extension| extension == "meta") {
            std::fs::remove_file(path).unwrap();
        }
    }
    image.to_owned()
}

/// Puts it back, as whoever keeps the chain would.
fn describe(directory: &Path, metas: &[(String, String)], parent: &str, new: &str) {
    for (file, below) in metas.iter().filter(|(file, _)| directory.join(file).exists()) {
        let parent = if file == new { parent } else { below };
        let text = format!("{{\"Parent\":\"{parent}\"}}");
        std::fs::write(directory.join(format!("{file}.meta")), text).unwrap();
    }
    let volume = "{\"Size\":1,\"Head\":\"none.img\"}";
    std::fs::write(directory.join("volume.meta"), volume).unwrap();
}

#[test]
fn a_squash_on_ext4_leaves_what_every_tip_reads() {
    check_on(Mount::new(Fs::Ext4), 16);
}

#[test]
fn a_squash_on_ext4_with_small_blocks_leaves_what_every_tip_reads() {
    check_on(mount_with(Fs::Ext4, &["-b", "1024"]), 12);
}

#[test]
fn a_squash_on_xfs_leaves_what_every_tip_reads() {
    check_on(Mount::new(Fs::Xfs), 16);
}

#[test]
fn a_squash_on_xfs_with_an_extent_size_hint_leaves_what_every_tip_reads() {
    check_on(mount_with(Fs::Xfs, &["-d", "extszinherit=16"]), 8);
}

#[test]
fn a_squash_on_btrfs_leaves_what_every_tip_reads() {
    check_on(Mount::new(Fs::Btrfs), 12);
}

/// A line of whole layers of one size, by the seeds of their blocks; 0 is a hole.
pub(super) fn line(directory: &Path, layers: &[&[u8]]) -> Vec<PathBuf> {
    let block = |seed: &u8| if *seed == 0 { Block::Hole } else { Block::Data(*seed) };
    let pattern = |seeds: &&[u8]| Pattern::whole(seeds.iter().map(block).collect());
    let made = replica::Replica::line(layers.iter().map(pattern).collect());
    std::fs::create_dir(directory).unwrap();
    made.write(directory);
    made.layers.iter().map(|layer| directory.join(&layer.file)).collect()
}

pub(super) fn span(directory: &Path, old: &str, new: &str) -> Span {
    Span::Replica { directory: directory.to_owned(), old: old.to_owned(), new: new.to_owned() }
}

#[test]
fn all_that_the_newest_meta_file_says_stays_but_for_the_parent() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let directory = mount.path().join("replica");
    let paths = line(&directory, &[&[1], &[2], &[3], &[4]]);
    let meta = directory.join("volume-snap-s2.img.meta");
    // In an order of its own, and with numbers that are not those of a machine.
    let text = |parent: &str| {
        format!(
            "{{\"Name\":\"volume-head-001.img\",\"Parent\":\"{parent}\",\"Removed\":false,\"UserCreated\":true,\
             \"Created\":\"2024-02-25T23:10:17Z\",\"Labels\":{{\"b\":\"c\",\"a\":\"b\"}},\"Later\":[1,{{\"x\":null}},1.50,\
             18446744073709551617]}}\n"
        )
    };
    std::fs::write(&meta, text("volume-snap-s1.img")).unwrap();
    let volume = directory.join("volume.meta");
    let others = [0, 3].map(|at| PathBuf::from(format!("{}.meta", paths[at].display())));
    let others = [&others[0], &others[1], &volume];
    let before = others.map(|path| std::fs::read(path).unwrap());
    squashed(&span(&directory, "s1", "s2"), &SquashOptions::default());
    assert_eq!(std::fs::read_to_string(&meta).unwrap(), text("volume-snap-s0.img"));
    assert_eq!(others.map(|path| std::fs::read(path).unwrap()), before);
}

#[test]
fn the_volume_names_the_parent_that_its_head_has_got() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let directory = mount.path().join("replica");
    let text = |parent: &str| {
        format!(
            "{{\"Size\":4096,\"Head\":\"volume-head-003.img\",\"Dirty\":true,\"Rebuilding\":false,\"Error\":\"\",\
             {parent}\"SectorSize\":512,\"BackingFilePath\":\"\",\"Unknown\":[2,1]}}\n"
        )
    };
    let parent = |name: &str| format!("\"Parent\":\"{name}\",");
    for (old, said, says) in [
        ("s1", parent("volume-snap-s2.img"), parent("volume-snap-s0.img")),
        ("s0", parent("volume-snap-s2.img"), parent("")),
        // Whoever wrote nothing of the kind misses nothing.
        ("s1", String::new(), String::new()),
    ] {
        line(&directory, &[&[1], &[2], &[3], &[4]]);
        std::fs::write(directory.join("volume.meta"), text(&said)).unwrap();
        squashed(&span(&directory, old, "volume-head-003.img"), &SquashOptions::default());
        let written = std::fs::read_to_string(directory.join("volume.meta")).unwrap();
        assert_eq!(written, text(&says));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

#[test]
fn what_the_layers_share_is_not_read() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    let directory = mount.path().join("replica");
    let (low, high) = ([[0_u8; 64], [2; 64]].concat(), [[3_u8; 64], [0; 64]].concat());
    line(&directory, &[&[1; 128], &low, &high]);
    let new = directory.join("volume-head-002.img");
    let always = SquashOptions { reflink: Reflink::Always, ..SquashOptions::default() };
    let stats = squashed(&span(&directory, "s0", "volume-head-002.img"), &always);
    assert_eq!((stats.fold.reflinked_bytes, stats.fold.read_bytes), (128 * 4096, 0));
    assert!(Content::of(&new).kinds.iter().all(|kind| *kind == Kind::Data));
    assert!(!checksum_file::path_of(&new).exists());
}

#[test]
fn a_squash_that_frees_needs_hardly_any_room() {
    let options = MountOptions { size_mib: 64, ..MountOptions::default() };
    let Some(mount) = Mount::with(Fs::Ext4, &options) else { return };
    let directory = mount.path().join("replica");
    let half = |seed: u8, at: usize| {
        (0..4096).map(|block| if block % 3 == at { seed } else { 0 }).collect::<Vec<_>>()
    };
    line(&directory, &[&half(1, 0), &half(2, 1), &half(3, 2)]);
    let filler = std::fs::File::create(mount.path().join("filler")).unwrap();
    let space = rustix::fs::statvfs(mount.path()).unwrap();
    let rest = space.f_bfree * space.f_frsize - (4 << 20);
    rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, rest).unwrap();
    let span = span(&directory, "s0", "volume-head-002.img");
    let freeing = SquashOptions { free: true, ..SquashOptions::default() };
    let fits = |options: &SquashOptions| planned(&span, options).unwrap().fold.fits();
    assert_eq!([SquashOptions::default(), freeing].map(|options| fits(&options)), [false, true]);
    let before = names(&directory);
    let refused = try_squash(&span, &SquashOptions::default()).unwrap_err().cause;
    assert!(matches!(refused, lacuna::Error::NoSpace { .. }), "{refused:?}");
    assert_eq!(names(&directory), before);
    squashed(&span, &freeing);
    let new = Content::of(&directory.join("volume-head-002.img"));
    let expected: Vec<_> = (0..4096).map(|block| Block::Data([1, 2, 3][block % 3])).collect();
    assert!(new.bytes == Pattern::whole(expected).bytes());
}
